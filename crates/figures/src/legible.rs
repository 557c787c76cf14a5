//! Names that others chose, as a person can read them.

use std::borrow::Cow;

/// `text` with whatever steers a terminal, ends a line, turns the direction of writing or has no
/// place in an SVG file written out, as `\n`, `\t` or `\u{1b}`: so a name is seen whole, and does
/// nothing. For eyes only: files that programs read keep names as they are.
#[must_use]
pub fn legible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unseen(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

fn is_unseen(c: char) -> bool {
    // Lines' and paragraphs' ends, and marks that turn the direction of what follows (UAX 9).
    let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // No characters, says Unicode; a file with one is no XML.
    c.is_control() || turns || matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_ends_a_line_is_written_out_and_nothing_else() {
        let cases = [
            ("bell\u{7}\u{1}", r"bell\u{7}\u{1}"),
            ("\u{1b}[2Jcat", r"\u{1b}[2Jcat"),
            ("two\nlines\r\t\u{7f}", r"two\nlines\r\t\u{7f}"),
            ("\u{9b}31m \u{202e}tac\u{2028}\u{2066}\u{ffff}", {
                r"\u{9b}31m \u{202e}tac\u{2028}\u{2066}\u{ffff}"
            }),
        ];
        for (name, expected) in cases {
            assert_eq!(legible(name), expected);
        }
        for name in ["", "golden retriever", "猫 🐱 ünï", r"back\slash 'quoted'", "e\u{301}"] {
            assert!(matches!(legible(name), Cow::Borrowed(same) if same == name), "{name}");
        }
    }
}
