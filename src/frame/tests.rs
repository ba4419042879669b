use proptest::prelude::*;
use serde_json::Value;

use super::*;

type Seen = (u64, u64, Vec<u8>, Loss);

fn lines(limits: FrameLimits, chunks: &[&[u8]]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut sink = |line: Line<'_>| {
        seen.push((
            line.start.get(),
            line.end.get(),
            line.bytes.to_vec(),
            line.loss,
        ));
    };
    let mut framer = LineFramer::new(limits, SpoolOffset::START);
    for chunk in chunks {
        framer.push(chunk, &mut sink);
    }
    framer.finish(&mut sink);
    seen
}

fn small() -> FrameLimits {
    FrameLimits {
        string: 16,
        line: 200,
    }
}

#[test]
fn lines_end_at_newlines_only_and_know_their_place() {
    let input = "{\"a\":\"\u{2028}\"}\r\n\nx\r\r\ntail".as_bytes();
    assert_eq!(
        lines(FrameLimits::default(), &[input]),
        [
            (0, 13, "{\"a\":\"\u{2028}\"}".into(), Loss::None),
            (13, 14, b"".to_vec(), Loss::None),
            (14, 18, b"x\r".to_vec(), Loss::None),
            (18, 22, b"tail".to_vec(), Loss::None),
        ]
    );
}

#[test]
fn a_framer_may_start_in_the_middle_of_a_spool() {
    let mut seen = Vec::new();
    let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::new(100));
    framer.push(b"ab\ncd\n", &mut |line| {
        seen.push((line.start.get(), line.end.get()));
    });
    assert_eq!(seen, [(100, 103), (103, 106)]);
}

#[test]
fn a_long_string_is_cut_with_a_marker_and_stays_json() {
    let input = format!("{{\"k\":\"{}\",\"n\":[1]}}\n", "é".repeat(40));
    let seen = lines(small(), &[input.as_bytes()]);
    let value: Value = serde_json::from_slice(&seen[0].2).unwrap();
    assert_eq!(value["k"], "éééééééé…[+64 bytes]");
    assert_eq!(value["n"][0], 1);
    assert_eq!(seen[0].3, Loss::Capped(64));
}

#[test]
fn a_surrogate_pair_is_never_cut_apart() {
    for lead in 0..16 {
        let input = format!(
            "{{\"k\":\"{}{}\"}}\n",
            "x".repeat(lead),
            r"\uD83D\uDE00".repeat(4)
        );
        let seen = lines(small(), &[input.as_bytes()]);
        let value: Value = serde_json::from_slice(&seen[0].2).unwrap();
        assert!(value["k"].as_str().unwrap().contains("…[+"), "{value}");
    }
}

#[test]
fn a_line_that_is_too_long_gives_its_head_and_the_next_line_is_whole() {
    let input = format!("{{{}}}\nnext\n", "[],".repeat(4000));
    let seen = lines(small(), &[input.as_bytes()]);
    assert_eq!(seen[0].3, Loss::Oversized);
    assert_eq!(seen[0].2.len(), small().line - 4);
    assert_eq!(seen[1].2, b"next");
    assert_eq!(seen[1].0, input.len() as u64 - 5);
}

#[test]
fn a_character_at_the_cut_of_a_string_and_of_the_line_changes_nothing() {
    for digits in 150..200 {
        let (number, text) = ("1".repeat(digits), "🚀".repeat(9));
        let input = format!("{{\"k\":{number},\"t\":\"a{text}\"}}");
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        let whole = lines(small(), &[input.as_bytes()]);
        assert_eq!(lines(small(), &bytes), whole, "{digits}");
    }
}

#[test]
fn a_line_of_100_mb_needs_no_more_than_the_limit() {
    let limits = FrameLimits::default();
    let mut framer = LineFramer::new(limits, SpoolOffset::START);
    let chunk = vec![b'x'; 256 * 1024];
    let mut peak = 0;
    framer.push(b"{\"a\":[\"", &mut |_| {});
    for round in 0..400 {
        framer.push(&chunk, &mut |_| {});
        if round % 10 == 0 {
            framer.push(b"\",\"", &mut |_| {});
        }
        peak = peak.max(framer.buffer.len());
    }
    assert!(peak <= limits.line + chunk.len(), "{peak}");
    let mut seen = Vec::new();
    framer.push(b"\"]}\nok\n", &mut |line| {
        seen.push((line.bytes.len(), line.loss));
    });
    assert_eq!(seen, [(HEAD, Loss::Oversized), (2, Loss::None)]);
}

fn any_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\\n".to_owned()),
        Just("\\\"".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\u0000".to_owned()),
        Just("\\uD83D\\uDE00".to_owned()),
        Just("🚀".to_owned()),
        Just("\u{2028}".to_owned()),
        "[a-z{}\\[\\],:]{0,12}",
    ];
    let string =
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    prop::collection::vec((string.clone(), string), 0..5).prop_map(|pairs| {
        // numbered: of two fields of one name a parser shows the last only
        let pair =
            |(number, (k, v)): (usize, &(String, String))| format!("\"{number}{}:[{v},1]", &k[1..]);
        let pairs: Vec<_> = pairs.iter().enumerate().map(pair).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    at.insert(0, 0);
    at.push(bytes.len());
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn cutting_strings_keeps_json_valid(json in any_json()) {
        let limits = FrameLimits { string: 16, line: 1 << 20 };
        let seen = lines(limits, &[format!("{json}\n").as_bytes()]);
        // By bytes: a value that is read would not show what was cut below a repeated key.
        prop_assert_eq!(seen[0].2 == json.as_bytes(), seen[0].3 == Loss::None);
        prop_assert!(serde_json::from_slice::<Value>(&seen[0].2).is_ok());
    }

    #[test]
    fn chunking_never_changes_the_result(
        documents in prop::collection::vec(prop_oneof![any_json(), "\\PC{0,40}", "[\x1b\\[\\]{}\"\\\\\r^C;]{0,60}"], 0..6),
        end in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut input = documents.join("\n");
        if end { input.push('\n'); }
        let whole = lines(small(), &[input.as_bytes()]);
        prop_assert_eq!(&lines(small(), &split(input.as_bytes(), &cuts)), &whole);
        let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        prop_assert_eq!(&lines(small(), &bytes), &whole);
    }

    #[test]
    fn no_bytes_can_make_it_panic(
        input in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'\n'), Just(0x1b)], 0..400),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        prop_assert_eq!(lines(small(), &split(&input, &cuts)), lines(small(), &[&input]));
    }
}
