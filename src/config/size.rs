//! Sizes as people write them: `512MiB`, `4GiB`.

/// Units, the largest first; a unit is 1024 of the next.
const UNITS: [(u64, &str); 4] = [
    (1 << 40, "TiB"),
    (1 << 30, "GiB"),
    (1 << 20, "MiB"),
    (1 << 10, "KiB"),
];
/// Larger sizes are slips, and far from overflow.
const MAX: u64 = 1 << 50;

/// Reads `512MiB` or `4GiB`: a whole number and a unit, at least `least`.
pub(super) fn parse_size(text: &str, least: u64) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write a number and a unit, as 512MiB or 4GiB");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if unit.is_empty() && !number.is_empty() {
        return Err(format!(
            "`{text}` has no unit; write {text}MiB or {text}GiB"
        ));
    }
    let (bytes, _) = UNITS
        .iter()
        .find(|(_, name)| *name == unit)
        .ok_or_else(wrong)?;
    let size = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*bytes));
    match size.ok_or_else(wrong)? {
        size if size > MAX => Err(format!("`{text}` is more than 1024TiB")),
        size if size < least => Err(format!("`{text}` is less than {}", show_size(least))),
        size => Ok(size),
    }
}

/// The shortest form that [`parse_size`] reads back, of a size in whole KiB.
pub(super) fn show_size(size: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(bytes, _)| size > 0 && size.is_multiple_of(*bytes));
    let (bytes, name) = unit.unwrap_or(&(1024, "KiB"));
    format!("{}{name}", size / bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, size) in [
            ("4GiB", 4 << 30),
            ("512MiB", 512 << 20),
            ("64KiB", 64 << 10),
        ] {
            assert_eq!(parse_size(text, 0), Ok(size));
            assert_eq!(show_size(size), text);
        }
        assert_eq!(parse_size("2048MiB", 0).map(show_size).unwrap(), "2GiB");
    }

    #[test]
    fn a_wrong_size_is_told_what_a_right_one_is() {
        let message = |text: &str| parse_size(text, 64 << 20).unwrap_err();
        assert!(message("4").contains("4GiB"));
        for text in [
            "",
            "GiB",
            "4GB",
            "-4GiB",
            "4.5GiB",
            "99999999999999999999GiB",
        ] {
            assert!(message(text).contains("512MiB"), "{text}");
        }
        assert!(message("1MiB").contains("less than 64MiB"));
        assert!(message("2000TiB").contains("more than"));
    }
}
