//! The forms in which a secret shows up in the output of an agent.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::SHORTEST;

/// A secret's own line is searched for by itself (a key printed with line numbers) from this
/// length on; shorter ones (`-----BEGIN`, `"type": "x"`) are ordinary text.
const SHORTEST_LINE: usize = 24;

/// Adds the forms of `secret`: to `json` what can stand in a JSON string, to `text` the rest.
pub(super) fn collect(secret: &str, json: &mut Vec<Vec<u8>>, text: &mut Vec<Vec<u8>>) {
    if secret.len() < SHORTEST {
        return;
    }
    one(secret, json, text);
    if secret.contains('\n') {
        for line in secret.lines().map(str::trim) {
            let border = line.starts_with("-----");
            if line.len() >= SHORTEST_LINE && !border {
                one(line, json, text);
            }
        }
    }
}

fn one(secret: &str, json: &mut Vec<Vec<u8>>, text: &mut Vec<Vec<u8>>) {
    let mut add = |form: String| {
        let form = form.into_bytes();
        if form.len() >= SHORTEST && !json.contains(&form) {
            json.push(form);
        }
    };
    let once = escaped(secret);
    // JSON within JSON: tool input as it streams, a file of JSON as a tool's output
    let twice = escaped(&once);
    add(escaped(&twice));
    add(twice);
    add(ascii(&once));
    add(once.replace('/', "\\/"));
    for shift in 0..3 {
        let (standard, url) = base64(secret.as_bytes(), shift);
        add(standard.replace('/', "\\/"));
        add(standard);
        add(url);
    }
    add(url_encoded(secret, b"-._~", false));
    add(url_encoded(secret, b"-._~", true));
    // a path's parts, JavaScript's `encodeURIComponent`, and a form's fields
    add(url_encoded(secret, b"-._~/", false));
    add(url_encoded(secret, b"-._~!'()*", false));
    add(url_encoded(secret, b"-._* ", false).replace(' ', "+"));
    let needs_escape = once != secret;
    add(once);
    if needs_escape {
        text.push(secret.as_bytes().to_vec());
    }
}

/// `text` as it stands in a JSON string, without the quotes.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted.get(1..quoted.len() - 1);
    inner.unwrap_or_default().to_owned()
}

/// As JSON writers that stay within ASCII have it.
fn ascii(escaped: &str) -> String {
    let one = |c: char| {
        if c.is_ascii() {
            return c.to_string();
        }
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units).iter();
        units
            .map(|unit| format!("\\u{unit:04x}"))
            .collect::<Vec<_>>()
            .concat()
    };
    escaped.chars().map(one).collect()
}

/// The base64 characters that follow from `secret` alone when it stands `shift` bytes into a
/// group of three: those that its neighbours share are left out.
fn base64(secret: &[u8], shift: usize) -> (String, String) {
    let padded = [vec![0; shift], secret.to_vec()].concat();
    let first = (shift * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    let inner = |encoded: String| encoded.get(first..last).unwrap_or_default().to_owned();
    (
        inner(STANDARD_NO_PAD.encode(&padded)),
        inner(URL_SAFE_NO_PAD.encode(&padded)),
    )
}

/// Percent-encoded but for the unreserved characters.
/// With letters, digits and what is in `kept` as they are.
fn url_encoded(text: &str, kept: &[u8], lower: bool) -> String {
    let one = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => char::from(byte).to_string(),
        _ if lower => format!("%{byte:02x}"),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
