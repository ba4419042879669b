//! Which known word a mistyped one was meant to be.

/// The known word that differs least from `word`, if it differs little enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().collect();
    let near = |candidate: &str| {
        let candidate: Vec<char> = candidate.chars().collect();
        let length = candidate.len();
        (
            distance(&word, &candidate),
            word.len().abs_diff(length),
            length,
        )
    };
    let best = known.into_iter().min_by_key(|candidate| near(candidate))?;
    let (distance, _, length) = near(best);
    (distance <= 1 + length / 4).then_some(best)
}

/// Letters to add, drop, change or swap with their neighbour (optimal string alignment).
/// Quadratic: for names, not for text.
fn distance(a: &[char], b: &[char]) -> usize {
    // `rows[i][j]` is the distance of the first `i` letters of `a` to the first `j` of `b`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in (1..).zip(a) {
        let mut row = vec![i];
        for (j, y) in (1..).zip(b) {
            let cell = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let above =
                |up: usize, j: usize| rows.get(i - up).map_or(usize::MAX - 1, |row| cell(row, j));
            let mut best = (above(1, j - 1) + usize::from(x != y))
                .min(above(1, j) + 1)
                .min(cell(&row, j - 1) + 1);
            let swapped = i > 1 && j > 1 && a.get(i - 2) == Some(y) && b.get(j - 2) == Some(x);
            if swapped {
                best = best.min(above(2, j - 2) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["mode", "model", "mcp_config", "timeout"];
        assert_eq!(nearest("modle", known), Some("model"));
        assert_eq!(nearest("mcp-config", known), Some("mcp_config"));
        assert_eq!(nearest("time_out", known), Some("timeout"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
