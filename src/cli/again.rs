//! The command to see one scenario again: as it was typed, but for what chooses scenarios and seeds.

use std::ffi::OsString;

/// Flags that the command sets itself, or that belong to the whole run; each has a value.
const REPLACED: [&str; 5] = ["--suite", "--seed", "--seeds", "--report", "--jobs"];

/// What was `typed` after `run`, ready for a shell.
pub(super) fn flags(typed: impl IntoIterator<Item = OsString>) -> String {
    let mut text = String::new();
    // A text cannot hold a word that is not UTF-8 as it was.
    let typed = typed.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut typed = typed.skip_while(|word| word != "run").skip(1);
    while let Some(word) = typed.next() {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        if REPLACED.contains(&flag) {
            let value = match word.split_once('=') {
                Some((_, value)) => Some(value.to_owned()),
                None => typed.next(),
            };
            // A file or a variable that asks for more may be overruled by it.
            if flag == "--seeds" && value.as_deref() == Some("1") {
                text.push_str(" --seeds 1");
            }
            continue;
        }
        text.push(' ');
        text.push_str(&quoted(&word));
    }
    text
}

/// `word` as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::flags;

    #[test]
    fn what_was_typed_comes_back_without_the_choice() {
        let again = |line: &str| flags(line.split(' ').map(OsString::from));
        assert_eq!(again("seatrial run"), "");
        assert_eq!(
            again(
                "seatrial run --suite spread --engine kind --seed=7 --manifests my-stack --jobs 2"
            ),
            " --engine kind --manifests my-stack"
        );
        assert_eq!(again("seatrial run --seeds 5"), "", "the report says which");
        assert_eq!(again("seatrial run --seeds=1 --engine sim"), " --seeds 1 --engine sim");
        let spaced = ["seatrial", "run", "--manifests", "it's here"].map(OsString::from);
        assert_eq!(flags(spaced), r" --manifests 'it'\''s here'");
    }
}
