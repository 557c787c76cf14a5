//! Text: files of it (lists, tables, indices), and paths as they are typed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::DataError;

/// Longest text file read, in bytes: ten million images with long names.
const TEXT_BYTES_MAX: u64 = 1 << 30;
/// What some editors, Windows' above all, begin UTF-8 files with; it is no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A path as it is typed after a command in a POSIX shell, in quotes where it must be: what a message
/// suggests can be pasted. What cannot be seen, or is no text, is written as `$'\x07'`.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    // As the beginning of a path is what no command takes for a flag.
    let start = if bytes.first() == Some(&b'-') { "./" } else { "" };
    match path.to_str() {
        Some(text) if text.chars().all(is_plain) && !text.is_empty() => format!("{start}{text}"),
        Some(text) if !text.contains(char::is_control) => {
            format!("'{start}{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let bytes = bytes.iter().map(|&byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(byte)),
                b' '..=b'~' => char::from(byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("$'{start}{}'", bytes.collect::<String>())
        }
    }
}

/// Whether a letter means nothing to a shell, wherever it stands.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+:@%,".contains(c)
}

/// A text file within the limit.
///
/// # Errors
/// One that cannot be read, is longer, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    let malformed = |place: String, reason: String| DataError::Malformed {
        path: path.to_path_buf(),
        place,
        reason,
    };
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let reason = "it is longer, which is the limit for a text file: split the set";
        return Err(malformed(format!("byte {TEXT_BYTES_MAX}"), reason.into()));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        malformed(format!("byte {at}"), "it is not UTF-8 text".into())
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_path_as_the_path_it_is() {
        let mut paths: Vec<PathBuf> = [
            "plain/a-1_b.jpg",
            "../d/with spaces and ünïcödé 🐱/0.png",
            "it's $HOME `ls` \"x\" \\ !1 *?[a] {b,c} ~ # & | ; < > ( )",
            "~",
            "",
            "-w",
            "- w'",
            "bell\u{7}1 'q' \\",
            "line\nend",
            "猫/犬",
        ]
        .map(PathBuf::from)
        .to_vec();
        #[cfg(unix)]
        paths.push({
            use std::os::unix::ffi::OsStrExt;
            std::ffi::OsStr::from_bytes(b"no\xfftext").into()
        });
        for path in paths {
            let typed = quoted(&path);
            assert!(!typed.contains(char::is_control), "{typed:?}");
            let script = format!("printf %s {typed}");
            let Ok(output) = Command::new("bash").args(["-c", &script]).output() else { return };
            let read = output.stdout.strip_prefix(b"./").unwrap_or(&output.stdout);
            assert_eq!(read, path.as_os_str().as_encoded_bytes(), "{typed}");
        }
        for plain in ["a.jpg", "runs/train/exp1", "/data/set_1", "猫"] {
            assert_eq!(quoted(Path::new(plain)), plain);
        }
    }
}
