//! Topics for an outline where the sources have no headings: groups of like passages, named by their own words.

use std::collections::{BTreeMap, BTreeSet};

use unicode_segmentation::UnicodeSegmentation;

use crate::Corpus;

/// Like passages and the phrase that tells them from the rest.
pub struct Cluster {
    pub name: String,
    pub passages: Vec<u32>,
}

const ROUNDS: usize = 6;
/// Passages looked at; the most relevant of a larger corpus stand for it.
const CONSIDERED: usize = 3000;

/// Groups `passages` (most relevant first) into at most `count` clusters, by spherical k-means with seeds that
/// are far from each other. `taken`: names that are used already.
pub fn clusters(
    corpus: &Corpus,
    passages: &[u32],
    count: usize,
    taken: &mut BTreeSet<String>,
) -> Vec<Cluster> {
    let passages = &passages[..passages.len().min(CONSIDERED)];
    let mut centres = seeds(corpus, passages, count);
    let mut members: Vec<Vec<u32>> = Vec::new();
    for _ in 0..ROUNDS {
        members = vec![Vec::new(); centres.len()];
        for passage in passages {
            let likes = centres.iter().map(|centre| dot(corpus, *passage, centre));
            let best = likes
                .enumerate()
                .fold((0, -1.0), |best, (at, like)| if like > best.1 { (at, like) } else { best });
            if let Some(group) = members.get_mut(best.0) {
                group.push(*passage);
            }
        }
        centres = members.iter().map(|group| centre(corpus, group)).collect();
    }
    members.retain(|group| !group.is_empty());
    members.sort_by_key(|group| group.iter().min().copied());
    members
        .into_iter()
        .filter_map(|mut passages| {
            passages.sort_unstable();
            let name = name(corpus, &passages, taken)?;
            Some(Cluster { name, passages })
        })
        .collect()
}

/// The words, as they are mostly written, that tell `passages` from the rest of the corpus.
pub fn telling_words(corpus: &Corpus, passages: &[u32], count: usize) -> Vec<String> {
    let mut weights: BTreeMap<u32, f64> = BTreeMap::new();
    for passage in passages {
        for (term, weight) in corpus.index.signature(*passage) {
            *weights.entry(*term).or_default() += weight;
        }
    }
    let mut terms: Vec<(u32, f64)> = weights.into_iter().collect();
    terms.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    // Some fall out below: commands and file names are no words.
    terms.truncate(count * 2);
    let mut forms: BTreeMap<u32, BTreeMap<String, usize>> = BTreeMap::new();
    for passage in passages {
        let passage = &corpus.passages[*passage as usize];
        let stems = corpus.index.stems_of(corpus.sources[passage.source as usize].language);
        for word in corpus.text(passage).unicode_words().map(str::to_lowercase) {
            if word.chars().count() < 3 || !word.chars().all(char::is_alphabetic) {
                continue;
            }
            let term = corpus.index.term(&stems.stem(&word));
            if let Some(term) = term.filter(|term| terms.iter().any(|(wanted, _)| wanted == term)) {
                *forms.entry(term).or_default().entry(word).or_default() += 1;
            }
        }
    }
    terms.iter().filter_map(|(term, _)| forms.get(term).and_then(most_frequent)).take(count).collect()
}

fn most_frequent(forms: &BTreeMap<String, usize>) -> Option<String> {
    forms.iter().rev().max_by_key(|(_, count)| **count).map(|(form, _)| form.clone())
}

fn seeds(corpus: &Corpus, passages: &[u32], count: usize) -> Vec<Vec<f64>> {
    let Some(first) = passages.first() else {
        return Vec::new();
    };
    let mut seeds = vec![centre(corpus, &[*first])];
    let mut nearest: Vec<f64> = passages.iter().map(|passage| dot(corpus, *passage, &seeds[0])).collect();
    // Only among the most relevant: an outlier far from everything makes a poor topic.
    let candidates = passages.len().min((count * 12).max(40));
    while seeds.len() < count {
        let far = (0..candidates).fold(None, |best: Option<usize>, at| match best {
            Some(best) if nearest[best] <= nearest[at] => Some(best),
            _ => Some(at),
        });
        let Some(far) = far.filter(|far| nearest[*far] < 0.99) else {
            break;
        };
        let seed = centre(corpus, &[passages[far]]);
        for (at, passage) in passages.iter().enumerate() {
            nearest[at] = nearest[at].max(dot(corpus, *passage, &seed));
        }
        seeds.push(seed);
    }
    seeds
}

fn centre(corpus: &Corpus, passages: &[u32]) -> Vec<f64> {
    let mut centre = vec![0.0; corpus.index.terms()];
    for passage in passages {
        for (term, weight) in corpus.index.signature(*passage) {
            centre[*term as usize] += weight;
        }
    }
    let length = centre.iter().map(|weight: &f64| weight * weight).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    centre.iter_mut().for_each(|weight| *weight /= length);
    centre
}

fn dot(corpus: &Corpus, passage: u32, centre: &[f64]) -> f64 {
    corpus.index.signature(passage).iter().map(|(term, weight)| weight * centre[*term as usize]).sum()
}

/// The phrase of one to three words that is frequent here and rare elsewhere.
fn name(corpus: &Corpus, passages: &[u32], taken: &mut BTreeSet<String>) -> Option<String> {
    let mut counts: BTreeMap<Vec<String>, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
    for passage in passages {
        let passage = &corpus.passages[*passage as usize];
        let language = corpus.sources[passage.source as usize].language;
        let stems = corpus.index.stems_of(language);
        let text = corpus.text(passage);
        for stretch in text.split(|c: char| !c.is_alphanumeric() && !c.is_whitespace() && c != '-') {
            let words: Vec<&str> = stretch.split_whitespace().collect();
            for size in 1..=3 {
                for window in words.windows(size) {
                    let lower: Vec<String> = window.iter().map(|word| word.to_lowercase()).collect();
                    let sound = lower.iter().all(|word| {
                        word.chars().count() >= 4
                            && word.chars().all(|c| c.is_alphabetic() || c == '-')
                            && !stems.is_stop(word)
                    });
                    if sound {
                        let key = lower.iter().map(|word| stems.stem(word)).collect();
                        let entry = counts.entry(key).or_default();
                        entry.0 += 1;
                        *entry.1.entry(window.join(" ")).or_default() += 1;
                    }
                }
            }
        }
    }
    let score = |key: &[String], count: usize| {
        let rarity: f64 =
            key.iter().filter_map(|stem| corpus.index.term(stem)).map(|term| corpus.index.rarity(term)).sum();
        // A longer phrase says more, but only if it is a phrase: it has to come again.
        if key.len() > 1 && count < 2 {
            0.0
        } else {
            (count as f64).sqrt() * rarity * if key.len() > 1 { 1.2 } else { 1.0 }
        }
    };
    let mut ranked: Vec<(f64, &Vec<String>)> =
        counts.iter().map(|(key, (count, _))| (score(key, *count), key)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let (_, key) = ranked.into_iter().find(|(_, key)| !key.iter().any(|stem| taken.contains(stem)))?;
    taken.extend(key.iter().cloned());
    most_frequent(&counts[key].1).map(|form| capitalised(&form))
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    first + characters.as_str()
}
