//! Whether two samples of times come from the same place.

/// The middle of a sample; zero if it is empty.
pub(crate) fn median(sample: &[f64]) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Two-sided p-value of the Mann-Whitney U test: how likely a difference like this is when there is none. Normal
/// approximation with corrections for ties and continuity.
pub(crate) fn mann_whitney(first: &[f64], second: &[f64]) -> f64 {
    if first.is_empty() || second.is_empty() {
        return 1.0;
    }
    let (n, m) = (count(first.len()), count(second.len()));
    let mut pooled: Vec<(f64, bool)> = first.iter().map(|value| (*value, true)).collect();
    pooled.extend(second.iter().map(|value| (*value, false)));
    pooled.sort_by(|left, right| left.0.total_cmp(&right.0));

    // Equal values share the mean of their ranks.
    let (mut ranks_of_first, mut ties, mut before) = (0.0, 0.0, 0.0);
    for group in pooled.chunk_by(|left, right| left.0.total_cmp(&right.0).is_eq()) {
        let size = count(group.len());
        let rank = before + (size + 1.0) / 2.0;
        ranks_of_first += rank * count(group.iter().filter(|(_, of_first)| *of_first).count());
        ties += size.powi(3) - size;
        before += size;
    }
    let u = ranks_of_first - n * (n + 1.0) / 2.0;
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        // All values are equal.
        return 1.0;
    }
    let distance = ((u - n * m / 2.0).abs() - 0.5).max(0.0);
    complementary_error(distance / variance.sqrt() / std::f64::consts::SQRT_2)
}

#[expect(clippy::cast_precision_loss, reason = "samples are far smaller than 2^52")]
fn count(length: usize) -> f64 {
    length as f64
}

/// erfc by the Chebyshev fit of Numerical Recipes section 6.2; its relative error is below 1.2e-7.
fn complementary_error(x: f64) -> f64 {
    const TERMS: [f64; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let sum = TERMS.iter().fold(0.0_f64, |sum, term| sum.mul_add(t, *term));
    let tail = t * (sum - x * x).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in SciPy's documentation of `mannwhitneyu`: the age at which diabetes was diagnosed.
    #[test]
    fn a_known_example_gives_its_known_value() {
        let (males, females) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        let expected = 0.111_346_886_533_140_41;
        assert!((mann_whitney(&males, &females) - expected).abs() < 1e-6);
        assert!((mann_whitney(&females, &males) - expected).abs() < 1e-6);
    }

    #[test]
    fn samples_far_apart_are_told_apart_and_equal_ones_are_not() {
        let fast: Vec<f64> = (0..40).map(f64::from).collect();
        let slow: Vec<f64> = (0..40).map(|value| f64::from(value) + 30.0).collect();
        assert!(mann_whitney(&fast, &slow) < 1e-6);
        assert!(mann_whitney(&fast, &fast) > 0.99);
        assert!((mann_whitney(&[1.0; 9], &[1.0; 9]) - 1.0).abs() < f64::EPSILON);
        assert!((mann_whitney(&[], &fast) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
