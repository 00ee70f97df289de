//! The command to see one scenario again: as it was typed, but for what chooses scenarios and seeds.

/// Flags that the command sets itself, or that belong to the whole run; each has a value.
const REPLACED: [&str; 5] = ["--suite", "--seed", "--seeds", "--report", "--jobs"];

/// What was `typed` after `run`, ready for a shell.
pub(super) fn flags(typed: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    let mut typed = typed.into_iter().skip_while(|word| word != "run").skip(1);
    while let Some(word) = typed.next() {
        let flag = word.split_once('=').map_or(word.as_str(), |(flag, _)| flag);
        if REPLACED.contains(&flag) {
            if flag == word {
                typed.next();
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
    use super::flags;

    #[test]
    fn what_was_typed_comes_back_without_the_choice() {
        let again = |line: &str| flags(line.split(' ').map(str::to_owned));
        assert_eq!(again("seatrial run"), "");
        assert_eq!(
            again(
                "seatrial run --suite spread --engine kind --seed=7 --manifests my-stack --jobs 2"
            ),
            " --engine kind --manifests my-stack"
        );
        let spaced = ["seatrial", "run", "--manifests", "it's here"].map(str::to_owned);
        assert_eq!(flags(spaced), r" --manifests 'it'\''s here'");
    }
}
