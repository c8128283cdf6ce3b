//! What samples say.

/// A sample that `percent` of all are not above: the nearest rank, so always one that was taken. `None` of no samples.
///
/// `percent` is from 0 to 100.
pub fn percentile(samples: &[u64], percent: u32) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The sample in the middle; the lower one of two.
pub fn median(samples: &[u64]) -> Option<u64> {
    percentile(samples, 50)
}

/// A straight line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line {
    /// Its y per x.
    pub slope: f64,
    /// Its y at 0.
    pub intercept: f64,
}

/// The line with the least sum of squared vertical distances from the points; `None` unless there are two different x.
pub fn least_squares(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if points.is_empty() || variance == 0.0 {
        return None;
    }
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = covariance / variance;
    Some(Line { slope, intercept: mean_y - slope * mean_x })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<u64> = (1..=100).rev().collect();
        let expected = [(0, 1), (1, 1), (50, 50), (90, 90), (99, 99), (100, 100)];
        for (percent, sample) in expected {
            assert_eq!(percentile(&samples, percent), Some(sample), "{percent} %");
        }
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[1, 2, 3], 99), Some(3));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&[9, 1, 5]), Some(5));
        assert_eq!(median(&[4, 1, 3, 2]), Some(2));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let line = least_squares(&[(4.0, 11.0), (8.0, 19.0), (16.0, 35.0)]).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-9 && (line.intercept - 3.0).abs() < 1e-9, "{line:?}");
        // The distances above and below are equal.
        let line = least_squares(&[(0.0, 0.0), (0.0, 2.0), (1.0, 1.0), (1.0, 3.0)]).unwrap();
        assert!((line.slope - 1.0).abs() < 1e-9 && (line.intercept - 1.0).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn there_is_no_line_through_one_x() {
        assert_eq!(least_squares(&[]), None);
        assert_eq!(least_squares(&[(4.0, 1.0), (4.0, 2.0)]), None);
    }
}
