//! The text of shell scripts: statements and words, with quotes, comments and what nests kept whole.

use std::time::Duration;

use crate::base::secs;

/// Longer than any cluster lives.
const FOR_EVER: Duration = secs(1_000_000_000);
/// Words after which a command begins.
const OPENERS: &[&str] = &["while", "until", "if", "elif", "do", "then", "else", "!", "{"];

/// A statement of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement<'t> {
    pub text: &'t str,
    /// Whether it runs only if the one before it succeeded.
    pub after_success: bool,
    /// Whether the script goes on beside it.
    pub is_beside: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'t> {
    text: &'t str,
    start: usize,
    is_operator: bool,
}

/// The statements of `script`: loops, conditions and pipes are one each.
pub(super) fn statements(script: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let (mut begin, mut depth, mut after_success, mut begins) = (None, 0_usize, false, true);
    let mut end = 0;
    for token in tokens(script) {
        let is_split =
            token.is_operator && depth == 0 && matches!(token.text, ";" | "\n" | "&&" | "&");
        if is_split {
            if let Some(begin) = begin.take() {
                let is_beside = token.text == "&";
                found.push(Statement { text: &script[begin..end], after_success, is_beside });
                after_success = false;
            }
            after_success |= token.text == "&&";
            begins = true;
            continue;
        }
        if begins && !token.is_operator {
            match token.text {
                "while" | "until" | "for" | "if" | "case" | "{" => depth += 1,
                "done" | "fi" | "esac" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        begins = token.is_operator || (begins && OPENERS.contains(&token.text));
        begin.get_or_insert(token.start);
        end = token.start + token.text.len();
    }
    if let Some(begin) = begin {
        found.push(Statement { text: &script[begin..end], after_success, is_beside: false });
    }
    found
}

/// A loop: its keyword, its condition and its body; `None` for anything else.
pub(super) fn as_loop(statement: &str) -> Option<(&str, &str, &str)> {
    let tokens = tokens(statement);
    let keyword = tokens.first().filter(|first| matches!(first.text, "while" | "until"))?;
    let is_do = |idx: &usize| {
        let before = &tokens[idx - 1];
        tokens[*idx].text == "do" && before.is_operator && matches!(before.text, ";" | "\n")
    };
    let opens = (1..tokens.len()).find(is_do)?;
    let last = tokens.last().filter(|last| last.text == "done" && !last.is_operator)?;
    let condition = &statement[keyword.text.len()..tokens[opens - 1].start];
    let body = &statement[tokens[opens].start + "do".len()..last.start];
    Some((keyword.text, condition.trim(), body.trim()))
}

fn tokens(script: &str) -> Vec<Token<'_>> {
    let mut found: Vec<Token<'_>> = Vec::new();
    let mut chars = script.char_indices().peekable();
    // Where the word that is being read begins, its quote, and how deep it is in `$(`.
    let (mut word, mut quote, mut nested) = (None, None, 0_usize);
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        let is_escaped = before == '\\' && quote != Some('\'');
        before = if is_escaped && c == '\\' { ' ' } else { c };
        let next = chars.peek().map(|(_, next)| *next);
        match quote {
            Some(end) if c == end && !is_escaped => quote = None,
            Some(_) => {}
            None if is_escaped => {
                word.get_or_insert(at);
            }
            None if matches!(c, '\'' | '"' | '`') => {
                quote = Some(c);
                word.get_or_insert(at);
            }
            None if nested > 0 => match c {
                '(' => nested += 1,
                ')' => nested -= 1,
                _ => {}
            },
            None if c == '$' && next == Some('(') => {
                word.get_or_insert(at);
            }
            None if c == '(' && script[..at].ends_with('$') => nested = 1,
            None if c == '#' && word.is_none() => {
                while chars.next_if(|(_, c)| *c != '\n').is_some() {}
                before = ' ';
            }
            // A part of a redirection.
            None if c == '&' && (next == Some('>') || script[..at].ends_with('>')) => {
                word.get_or_insert(at);
            }
            None if matches!(c, ';' | '\n' | '&' | '|' | '(' | ')') => {
                push(&mut found, script, word.take(), at, false);
                let is_double = matches!(c, '&' | '|' | ';') && next == Some(c);
                if is_double {
                    chars.next();
                }
                push(&mut found, script, Some(at), at + 1 + usize::from(is_double), true);
            }
            None if c.is_whitespace() => push(&mut found, script, word.take(), at, false),
            None => {
                word.get_or_insert(at);
            }
        }
    }
    push(&mut found, script, word, script.len(), false);
    found
}

fn push<'t>(
    found: &mut Vec<Token<'t>>,
    script: &'t str,
    start: Option<usize>,
    end: usize,
    is_operator: bool,
) {
    if let Some(start) = start {
        found.push(Token { text: &script[start..end], start, is_operator });
    }
}

/// A command without what throws its output away or joins it.
pub(in crate::sim) fn without_output(command: &str) -> String {
    const NOWHERE: [&str; 9] = [
        "2>&1",
        "1>&2",
        ">&2",
        "2>/dev/null",
        "2> /dev/null",
        "1>/dev/null",
        "&>/dev/null",
        ">/dev/null",
        "> /dev/null",
    ];
    NOWHERE.iter().fold(command.to_owned(), |rest, nowhere| rest.replace(nowhere, ""))
}

/// Words of one command; quotes group and are dropped.
pub(in crate::sim) fn split_words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in command.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, begun) = (Some(c), true),
            None if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            None => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

/// `20`, `0.5`, `20s`, `1.5m`, `1h`, `infinity`, as `sleep` of coreutils reads them.
pub(in crate::sim) fn sleep_time(text: &str) -> Option<Duration> {
    if matches!(text, "inf" | "infinity") {
        return Some(FOR_EVER);
    }
    let (number, unit) = match text.char_indices().next_back()? {
        (at, 's') => (&text[..at], 1.0),
        (at, 'm') => (&text[..at], 60.0),
        (at, 'h') => (&text[..at], 3_600.0),
        (at, 'd') => (&text[..at], 86_400.0),
        _ => (text, 1.0),
    };
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
    (time < FOR_EVER).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::millis;

    #[test]
    fn sleep_reads_units_and_refuses_nonsense() {
        assert_eq!(sleep_time("20"), Some(secs(20)));
        assert_eq!(sleep_time("0.5"), Some(millis(500)));
        assert_eq!(sleep_time("1.5m"), Some(secs(90)));
        assert_eq!(sleep_time("infinity"), Some(FOR_EVER));
        for nonsense in ["-1", "é", "", "m", "nan", "1e300", "1x"] {
            assert_eq!(sleep_time(nonsense), None, "{nonsense}");
        }
    }

    fn texts(script: &str) -> Vec<&str> {
        statements(script).iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn scripts_split_where_commands_end() {
        assert_eq!(texts("a 1; b '2; 3' && c\n# d; e\nf 2>&1"), ["a 1", "b '2; 3'", "c", "f 2>&1"]);
        assert_eq!(texts("echo for you; b"), ["echo for you", "b"]);
        let whole = "while true; do a && break; for i in 1 2; do b; done; done";
        assert_eq!(texts(&format!("a; {whole}; c")), ["a", whole, "c"]);
        assert_eq!(texts("a || b | c; d"), ["a || b | c", "d"]);
        assert_eq!(texts("a \"$(b; c)\" $(d; e)"), ["a \"$(b; c)\" $(d; e)"]);
        assert_eq!(texts("if a; then b; fi\n\nc;"), ["if a; then b; fi", "c"]);
    }

    #[test]
    fn statements_know_what_they_depend_on() {
        let found = statements("a && b; c & d");
        let flags = |s: &Statement<'_>| (s.after_success, s.is_beside);
        let flags: Vec<_> = found.iter().map(flags).collect();
        assert_eq!(flags, [(false, false), (true, false), (false, true), (false, false)]);
    }

    #[test]
    fn loops_have_a_condition_and_a_body() {
        let text = "until nc -z db 3306; do echo do; sleep 2; done";
        assert_eq!(as_loop(text), Some(("until", "nc -z db 3306", "echo do; sleep 2;")));
        assert_eq!(as_loop("while :\ndo\n a\ndone"), Some(("while", ":", "a")));
        assert_eq!(as_loop("while :; do a; done > /log"), None);
        assert_eq!(as_loop("whilst"), None);
    }

    #[test]
    fn words_are_grouped_by_quotes() {
        assert_eq!(split_words("echo 'a b' \"\" c"), ["echo", "a b", "", "c"]);
    }
}
