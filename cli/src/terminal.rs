//! All output of the program. Names and other texts from files must not control a terminal, so control characters are written as
//! escapes, here, where all output passes.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Whether a character moves the cursor, colours or hides the following text, or changes the reading order: ASCII and Latin-1
/// control characters, direction marks, line and paragraph separators, annotations, tags.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, kept: fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| steers(c) && !kept(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match steers(c) && !kept(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out.into()
}

/// A text of several lines, escaped.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// A text that must stay on one line, escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// JSON on one line, with such characters as JSON escapes, so that it parses to the same value.
pub fn json(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !steers(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Writes to standard output and flushes it.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard error. A failure is ignored, since it could not be reported.
pub fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{}", line(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_is_left() {
        let all: String =
            ('\0'..='\u{2fff}').chain('\u{fff0}'..='\u{ffff}').chain('\u{e0000}'..='\u{e0fff}').collect();
        let steering = |text: &str| text.chars().filter(|c| steers(*c)).collect::<String>();
        assert_eq!(steering(&line(&all)), "");
        assert_eq!(steering(&text(&all)), "\t\n");
        let value = serde_json::json!({ all.clone(): [all] });
        let printed = json(&value);
        assert_eq!(steering(&printed), "");
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
        for (from, to) in [
            ("\u{1b}[31mred\u{7}\r\n", "\\u{1b}[31mred\\u{7}\\r\\n"),
            ("\u{9b}2J\u{202e}", "\\u{9b}2J\\u{202e}"),
            ("größe 猫 🐈 C:\\x", "größe 猫 🐈 C:\\x"),
        ] {
            assert_eq!(line(from), to);
        }
    }
}
