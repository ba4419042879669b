//! Durations as people write them: `90s`, `10m`, `2h`.

use std::time::Duration;

/// The longest duration that is taken: longer ones are slips, and far from overflow.
const MAX: Duration = Duration::from_hours(365 * 24);

/// Reads `90s`, `10m`, `2h`, `1h30m` or `500ms`; more than 0, at most a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write a number and a unit, as 90s, 10m or 2h");
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "`{text}` has no unit; write {text}s, {text}m or {text}h"
        ));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis));
        let part = Duration::from_millis(part.ok_or_else(wrong)?);
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    match total {
        Duration::ZERO if text.is_empty() => Err(wrong()),
        Duration::ZERO => Err(format!(
            "`{text}` is no time at all; write a longer one, as 90s, 10m or 2h"
        )),
        _ if total > MAX => Err(format!("`{text}` is longer than a year")),
        _ => Ok(total),
    }
}

/// The shortest form that [`parse_duration`] reads back.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units: [(u128, &str); 3] = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(size, _)| millis.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in [
            "",
            "0s",
            "s",
            "5x",
            "-5s",
            "1.5h",
            "5 s",
            "99999999999999999999h",
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains("10m"), "{text}: {error}");
        }
        assert!(parse_duration("90").unwrap_err().contains("90s"));
        assert!(parse_duration("9000h").unwrap_err().contains("a year"));
        for nothing in ["0s", "0h0m"] {
            let error = parse_duration(nothing).unwrap_err();
            assert!(error.contains("longer"), "{error}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_would_be_written() {
        for text in ["90s", "10m", "2h", "250ms"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }
}
