//! Chooses how many optional blocks to print, so that the PDF has the pages that were ordered.
//!
//! Pages are measured, not estimated: interpolation between two measured layouts, then bisection.

use quire_manuscript::{Block, Book};

use crate::press::{Layout, Press, RenderError, Rendered, characters};

/// Layouts after which the search takes the best one found so far.
const MAX_LAYOUTS: u32 = 6;
/// The same while the best one is more than a three-hundredth short of the target.
const MAX_LAYOUTS_WHILE_SHORT: u32 = 14;

/// Longer layouts are not kept for the next one.
const MAX_CACHED_PAGES: u32 = 300;

/// The largest version of a book that does not exceed its target.
#[derive(Debug)]
pub struct Fitted {
    pub rendered: Rendered,
    /// Blocks of this rank and above were left out ([`Book::without_optional_from`]); `None`: the book is whole.
    pub limit: Option<u32>,
    /// How many times the book was laid out.
    pub layouts: u32,
}

/// Typesets as much of the book as fits on `target_pages`.
///
/// A book that is shorter is delivered whole; one that is longer even without its optional blocks is
/// delivered without them. Compare [`Rendered::pages`] with the target.
pub fn fit(book: &Book, target_pages: u32) -> Result<Fitted, RenderError> {
    let press = Press::new(book, Some(target_pages))?;
    let fitted = fit_on(&press, book, target_pages)?;
    if fitted.rendered.pages <= target_pages || !press.chapters_on_new_pages {
        return Ok(fitted);
    }
    // Many short chapters: the pages that each leaves half empty are more than the optional blocks can give.
    let press = press.with_running_chapters();
    let running = fit_on(&press, book, target_pages)?;
    Ok(Fitted { layouts: fitted.layouts + running.layouts, ..running })
}

fn fit_on(press: &Press, book: &Book, target_pages: u32) -> Result<Fitted, RenderError> {
    let ladder = Ladder::of(book);
    let mut kept: Option<Layout<'_>> = None;
    let mut layouts = 0;
    let steps = search(&ladder.lengths, target_pages, |steps| {
        let layout = match ladder.limit(steps) {
            Some(limit) => press.layout(&book.without_optional_from(limit))?,
            None => press.layout(book)?,
        };
        layouts += 1;
        let pages = layout.pages();
        // What recent layouts had in common saves a third of the time, but doubles the memory.
        comemo::evict(if pages > MAX_CACHED_PAGES { 0 } else { 2 });
        if pages <= target_pages || steps == 0 {
            kept = Some(layout);
        }
        Ok(pages)
    })?;
    let layout = kept.expect("the search measures the version that it chooses last of those that fit");
    Ok(Fitted { rendered: layout.finish()?, limit: ladder.limit(steps), layouts })
}

/// The versions of a book, from the shortest (0 steps) to the whole.
struct Ladder {
    /// The ranks that occur, ascending.
    ranks: Vec<u32>,
    /// For each version, the characters of the optional blocks that it keeps.
    lengths: Vec<usize>,
}

impl Ladder {
    fn of(book: &Book) -> Self {
        let mut weights = std::collections::BTreeMap::<u32, usize>::new();
        let sections = book.chapters.iter().flat_map(|chapter| &chapter.sections);
        for block in sections.flat_map(|section| &section.blocks) {
            if let Some(rank) = Block::optional(block) {
                *weights.entry(rank).or_default() += characters(block);
            }
        }
        let mut lengths = vec![0];
        for weight in weights.values() {
            lengths.push(lengths.last().expect("starts with one") + weight);
        }
        Self { ranks: weights.into_keys().collect(), lengths }
    }

    fn limit(&self, steps: usize) -> Option<u32> {
        self.ranks.get(steps).copied()
    }
}

/// The largest version that `measure` finds to have at most `target` pages; 0 if none has.
///
/// `lengths` grows with the version; the version returned was measured, and no smaller one after it.
fn search<E>(
    lengths: &[usize],
    target: u32,
    mut measure: impl FnMut(usize) -> Result<u32, E>,
) -> Result<usize, E> {
    let whole = lengths.len() - 1;
    let mut high_pages = measure(whole)?;
    if whole == 0 || high_pages <= target {
        return Ok(whole);
    }
    let mut low_pages = measure(0)?;
    let (mut low, mut high) = (0, whole);
    if low_pages > target {
        return Ok(low);
    }
    let mut layouts = 2;
    let mut gap_before = usize::MAX;
    while high - low > 1 {
        let budget = if low_pages < target { MAX_LAYOUTS_WHILE_SHORT } else { MAX_LAYOUTS };
        let gap = lengths[high] - lengths[low];
        let per_page = gap as f64 / f64::from((high_pages - low_pages).max(1));
        // On the target page, with less than a quarter of a page to win.
        if layouts >= budget || (low_pages == target && (gap as f64) < per_page / 4.0) {
            break;
        }
        // Where pages do not grow evenly, interpolation can creep; halving cannot.
        let creeping = gap > gap_before / 2;
        gap_before = gap;
        // Counted pages are rounded up by half a page on average; aim at the end of the last one.
        let wanted =
            if creeping { gap as f64 / 2.0 } else { per_page * (f64::from(target - low_pages) + 0.25) };
        let wanted = lengths[low] + wanted as usize;
        let next = lengths.partition_point(|length| *length <= wanted).saturating_sub(1);
        let next = next.clamp(low + 1, high - 1);
        let pages = measure(next)?;
        layouts += 1;
        if pages <= target {
            (low, low_pages) = (next, pages);
        } else {
            (high, high_pages) = (next, pages);
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A book whose version `n` has `base + n * per_step` pages, rounded up.
    fn run(steps: usize, base: f64, per_step: f64, target: u32) -> (usize, u32) {
        let lengths: Vec<usize> = (0..=steps).map(|step| step * 100).collect();
        let mut layouts = 0;
        let chosen = search(&lengths, target, |step| {
            layouts += 1;
            Ok::<_, ()>((base + step as f64 * per_step).ceil() as u32)
        });
        (chosen.unwrap(), layouts)
    }

    #[test]
    fn the_whole_book_is_taken_when_it_fits() {
        assert_eq!(run(50, 2.0, 0.1, 12), (50, 1));
    }

    #[test]
    fn the_shortest_version_is_taken_when_none_fits() {
        assert_eq!(run(50, 14.0, 0.1, 12), (0, 2));
    }

    #[test]
    fn a_book_without_optional_blocks_is_laid_out_once() {
        assert_eq!(run(0, 14.0, 0.1, 12), (0, 1));
    }

    #[test]
    fn the_target_is_met_and_the_last_page_mostly_filled_within_six_layouts() {
        for (steps, base, per_step, target) in
            [(200, 3.0, 0.1, 12), (3_000, 5.5, 0.3, 400), (40, 2.2, 0.7, 20), (10_000, 8.0, 0.15, 1_000)]
        {
            let (chosen, layouts) = run(steps, base, per_step, target);
            let content = base + chosen as f64 * per_step;
            assert!(content <= f64::from(target), "{content} > {target}");
            assert!(content > f64::from(target) - 1.0, "{content} is short of {target}");
            assert!(layouts <= MAX_LAYOUTS, "{layouts} layouts for {target} pages");
        }
    }

    #[test]
    fn coarse_steps_give_the_largest_version_below_the_target() {
        assert_eq!(run(4, 2.0, 5.0, 11).0, 1);
    }

    #[test]
    fn an_error_of_the_layout_ends_the_search() {
        assert_eq!(search(&[0, 1], 5, |_| Err::<u32, _>("broken")), Err("broken"));
    }
}
