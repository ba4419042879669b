use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn redactor(secret: &str) -> Redactor {
    Redactor::new(&[SecretString::from(secret)]).unwrap()
}

fn masked(redactor: &Redactor, line: &str) -> String {
    let mut scratch = Vec::new();
    let line = redactor.line(line.as_bytes(), Cut::Nowhere, &mut scratch);
    String::from_utf8(line.to_vec()).unwrap()
}

#[test]
fn a_secret_is_masked_in_every_form() {
    let secret = "sk-ant/\"quoted\"+ü?key=1";
    let redactor = redactor(secret);
    let inner = json!({ "key": secret }).to_string();
    for text in [
        secret.to_owned(),
        inner.clone(),
        json!({ "inner": inner }).to_string(),
        format!("%3D{}", forms_url(secret)),
    ] {
        let line = json!({ "type": "x", "text": text }).to_string();
        let line = masked(&redactor, &line);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert!(value["text"].as_str().unwrap().contains("***"), "{line}");
        assert!(!line.contains("quoted"), "{line}");
    }
    assert_eq!(masked(&redactor, &format!("log: {secret}.")), "log: ***.");
}

fn forms_url(secret: &str) -> String {
    secret
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b == b'-' {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[test]
fn base64_is_masked_wherever_the_secret_stands_in_it() {
    let secret = "correct-horse-battery";
    let redactor = redactor(secret);
    for before in 0..5 {
        for after in 0..5 {
            let text = format!("{}{secret}{}", "u".repeat(before), ":".repeat(after));
            for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                let line = masked(&redactor, &format!("{{\"t\":\"{encoded}\"}}"));
                assert!(line.contains("***"), "{before} {after} {line}");
                assert!(line.len() < 40, "{line}");
            }
        }
    }
}

#[test]
fn a_key_printed_with_line_numbers_is_masked() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
    let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\nabc=\n-----END PRIVATE KEY-----\n");
    let shown = masked(&redactor(&key), &format!("{{\"t\":\"2\\t{line}\\n\"}}"));
    assert_eq!(shown, "{\"t\":\"2\\t***\\n\"}");
}

#[test]
fn an_escape_in_front_of_a_match_is_not_torn_apart() {
    let redactor = redactor("nabcdefgh");
    assert_eq!(
        masked(&redactor, r#"{"t":"\nabcdefgh"}"#),
        r#"{"t":"\nabcdefgh"}"#
    );
    assert_eq!(
        masked(&redactor, r#"{"t":"\\nabcdefgh"}"#),
        r#"{"t":"\\***"}"#
    );
}

#[test]
fn a_secret_that_a_cut_went_through_is_masked() {
    let redactor = redactor("supersecretvalue");
    let mut scratch = Vec::new();
    let line = "{\"a\":\"xxsupersec…[+9 bytes]\"}";
    let shown = redactor.line(line.as_bytes(), Cut::Marked, &mut scratch);
    assert_eq!(shown, "{\"a\":\"xx***…[+9 bytes]\"}".as_bytes());
    let shown = redactor.line(b"{[[[supersec", Cut::AtEnd, &mut scratch);
    assert_eq!(shown, b"{[[[***");
}

#[test]
fn what_is_left_of_a_secret_at_the_start_of_a_texts_end_is_left_out() {
    let secret = "supersecretvalue";
    let redactor = redactor(secret);
    let log = format!("{secret} {secret} {secret} then all went well\n");
    for at in 0..log.len() {
        let shown = redactor.end_of_text(&log.as_bytes()[at..]);
        let shown = String::from_utf8(shown).unwrap();
        let mut pieces = secret.as_bytes().windows(4);
        let leaked = pieces.find(|piece| shown.contains(std::str::from_utf8(piece).unwrap()));
        assert_eq!(leaked, None, "from {at}: {shown}");
    }
    let shown = redactor.end_of_text(format!("{:200}{secret}.", "").as_bytes());
    assert!(shown.ends_with(b" ***."));
    assert_eq!(Redactor::none().end_of_text(b"all"), b"all");
}

#[test]
fn text_full_of_markers_costs_no_more_than_its_length() {
    let redactor = redactor("supersecretvalue");
    let line = format!("{{{}", "s…[+".repeat(200_000));
    let mut scratch = Vec::new();
    let shown = redactor.line(line.as_bytes(), Cut::AtEnd, &mut scratch);
    assert_eq!(shown.len(), line.len() + 2 * 200_000);
}

#[test]
fn short_values_and_debug_output_give_nothing_away() {
    let redactor = Redactor::new(&[
        SecretString::from("short"),
        SecretString::from("longsecretvalue"),
    ])
    .unwrap();
    assert_eq!(masked(&redactor, "short"), "short");
    assert!(!format!("{redactor:?}").contains("longsecret"));
    assert_eq!(redactor.text(b"x longsecretvalue").as_ref(), b"x ***");
}

proptest! {
    #[test]
    fn masked_json_is_json_without_the_secret(secret in "[ -~é\n]{8,24}", before in "\\PC{0,8}", after in "\\PC{0,8}") {
        prop_assume!(secret.trim().len() >= SHORTEST && !secret.contains("***"));
        let redactor = redactor(&secret);
        let line = json!({ "type": "text", "text": format!("{before}{secret}{after}") }).to_string();
        let shown = masked(&redactor, &line);
        let value: Value = serde_json::from_str(&shown).unwrap();
        prop_assert!(!value["text"].as_str().unwrap().contains(secret.trim()), "{}", shown);
    }
}

#[test]
fn a_secret_that_is_learned_is_masked_from_then_on_and_the_others_as_before() {
    let redactor = redactor("the-first-secret");
    let said = "the-first-secret and t0ken-number-2";
    assert_eq!(masked(&redactor, said), "*** and t0ken-number-2");
    let second = SecretString::from("t0ken-number-2");
    for _ in 0..2 {
        redactor.learn(&second).unwrap();
    }
    assert_eq!(masked(&redactor, said), "*** and ***");
    for number in 0..MOST_LEARNED {
        let token = SecretString::from(format!("token-of-hour-{number}"));
        redactor.learn(&token).unwrap();
    }
    // Of the learned ones the oldest has gone, and none of those that were given.
    assert_eq!(masked(&redactor, said), "*** and t0ken-number-2");
    assert_eq!(masked(&redactor, "token-of-hour-255"), "***");
}

#[test]
fn one_that_masks_nothing_can_learn() {
    let redactor = Redactor::none();
    redactor.learn(&SecretString::from("short")).unwrap();
    assert!(redactor.is_none());
    redactor.learn(&SecretString::from("long-enough")).unwrap();
    assert_eq!(masked(&redactor, "x long-enough"), "x ***");
}
