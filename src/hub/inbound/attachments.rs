//! What a Hub attaches to a prompt (`attachments`, as in its conversation entries).
//!
//! An image whose content comes along is an image of the prompt. Anything else is told to the agent
//! in the prompt's own words, with the address at which it can be had where there is one: nothing that
//! somebody attached goes without a word. Nothing is fetched here: the address is anybody's.

use serde_json::Value;

use crate::image::Image;

/// The longest name, kind or address that is told.
const LONGEST: usize = 2048;

/// The images that come along.
pub(super) fn images(command: &Value) -> Result<Vec<Image>, String> {
    let images = all(command).filter_map(|given| Some((given, content(given)?)));
    let read = images.map(|(given, content)| {
        let image = Image::from_base64(content);
        image.map_err(|error| format!("the attachment {}: {error}", name(given)))
    });
    read.collect()
}

/// Words about the others, to stand behind the prompt's.
pub(super) fn told(command: &Value) -> String {
    let others = all(command).filter(|given| content(given).is_none());
    let lines = others.map(|given| {
        let url = text(given, "url").filter(|url| url.starts_with("http"));
        let where_it_is = match url {
            Some(url) => format!("at {url}"),
            None => "which was not passed on: only images come along".to_owned(),
        };
        format!("\n[attached: {}, {where_it_is}]", name(given))
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n{lines}")
    }
}

fn all(command: &Value) -> impl Iterator<Item = &Value> {
    let given = command.get("attachments").and_then(Value::as_array);
    given
        .into_iter()
        .flatten()
        .filter(|given| given.is_object())
}

/// The content of an image, in base64 or as a `data:` URL.
fn content(given: &Value) -> Option<&str> {
    let is_image = text(given, "type") == Some("image")
        || text(given, "mimeType").is_some_and(|kind| kind.starts_with("image/"));
    let content = given.get("content").and_then(Value::as_str);
    let url = given.get("url").and_then(Value::as_str);
    let inline = content.or_else(|| url.filter(|url| url.starts_with("data:")));
    inline.filter(|inline| is_image && !inline.is_empty())
}

fn name(given: &Value) -> &str {
    let named = text(given, "name").or_else(|| text(given, "mimeType"));
    named.or_else(|| text(given, "type")).unwrap_or("a file")
}

/// One line of text, or nothing.
fn text<'a>(given: &'a Value, key: &str) -> Option<&'a str> {
    let text = given.get(key)?.as_str()?.trim();
    let is_line = text.len() <= LONGEST && !text.contains(char::is_control);
    Some(text).filter(|text| is_line && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A PNG image of one pixel.
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";

    #[test]
    fn images_come_along_and_of_the_others_is_told_where_they_are() {
        let command = json!({"attachments": [
            {"type": "image", "name": "a.png", "content": PIXEL},
            {"type": "file", "mimeType": "image/png", "url": format!("data:image/png;base64,{PIXEL}")},
            {"type": "image", "name": "far.png", "url": "https://example.com/far.png"},
            {"type": "file", "name": "notes.txt", "content": "aGVsbG8="},
            {"type": "file", "name": "two\nlines", "url": "file:///etc/passwd"},
            "no attachment",
        ]});
        assert_eq!(images(&command).unwrap().len(), 2);
        assert_eq!(
            told(&command),
            "\n\n[attached: far.png, at https://example.com/far.png]\
             \n[attached: notes.txt, which was not passed on: only images come along]\
             \n[attached: file, which was not passed on: only images come along]"
        );
        for none in [
            json!({}),
            json!({"attachments": null}),
            json!({"attachments": []}),
        ] {
            assert!(images(&none).unwrap().is_empty() && told(&none).is_empty());
        }
        let broken =
            json!({"attachments": [{"type": "image", "name": "b.png", "content": "eA=="}]});
        let why = images(&broken).unwrap_err();
        assert!(why.contains("b.png") && why.contains("PNG"), "{why}");
    }
}
