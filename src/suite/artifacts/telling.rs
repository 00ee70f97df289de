//! What is a secret by its name, and passwords in URLs.

use std::ops::Range;

/// Names with these in them hold secrets, written openly or not.
const ANYWHERE: [&str; 10] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "APIKEY",
    "AUTHKEY",
    "ACCESSKEY",
    "PRIVATEKEY",
];
/// Names with one of these as a word do: `DB_PASS`, `AUTH_KEY`, not `PASSIVE` or `KEYBOARD`.
const WORDS: [&str; 6] = ["PASS", "PWD", "PW", "KEY", "SALT", "AUTHORIZATION"];
/// Words may be written together, as in `DBPASS`; these end so and mean something else.
const NOT_PASS: [&str; 3] = ["BYPASS", "COMPASS", "ENCOMPASS"];
/// The last word of names that say where a secret is, or what it is called, and not what it is.
const POINTERS: [&str; 5] = ["FILE", "PATH", "DIR", "NAME", "TTL"];
/// The shell's working directories.
const FOLDERS: [&str; 2] = ["PWD", "OLDPWD"];
/// Values that only turn something on or off.
const SWITCHES: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "enabled", "disabled"];

/// Whether a variable or key called `name` holds a secret.
pub(super) fn tells(name: &str) -> bool {
    let words = words(name);
    let points = words.last().is_some_and(|word| POINTERS.contains(&word.as_str()));
    let name = name.to_uppercase();
    if points || FOLDERS.contains(&name.as_str()) {
        return false;
    }
    let is_secret = |word: &String| {
        let joined = word.ends_with("PASS") || word.ends_with("PWD");
        WORDS.contains(&word.as_str()) || joined && !NOT_PASS.contains(&word.as_str())
    };
    ANYWHERE.iter().any(|part| name.contains(part)) || words.iter().any(is_secret)
}

/// Whether `value` only turns something on or off, as in `ALLOW_EMPTY_PASSWORD=yes`.
pub(super) fn is_switch(value: &str) -> bool {
    SWITCHES.contains(&value.to_lowercase().as_str())
}

/// The words of `DB_PASS`, `db-pass`, `db.pass` and `dbPass`, in capitals.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        let begins = letter.is_uppercase() && was_lower;
        was_lower = letter.is_lowercase();
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_uppercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Where the passwords of `scheme://user:password@host` stand in `text`.
pub(super) fn url_passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("://") {
        let from = at + mark.len();
        let ends = |letter: char| letter.is_whitespace() || "/?#\"'<>`\\".contains(letter);
        let rest = &text[from..];
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let Some((user, _host)) = authority.rsplit_once('@') else { continue };
        let Some((name, password)) = user.split_once(':') else { continue };
        if !password.is_empty() {
            let from = from + name.len() + 1;
            found.push(from..from + password.len());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_by_their_words() {
        for name in [
            "DB_PASS",
            "DBPASS",
            "DB_PWD",
            "API_KEY",
            "apiKey",
            "db-pass",
            "WORDPRESS_AUTH_KEY",
            "WORDPRESS_NONCE_SALT",
            "AWS_ACCESS_KEY_ID",
            "MYSQL_ROOT_PASSWORD",
            "KEY_PASSPHRASE",
            "GITHUB_TOKEN",
            "Authorization",
        ] {
            assert!(tells(name), "{name}");
        }
        for name in [
            "PWD",
            "OLDPWD",
            "PASSIVE_PORTS",
            "BYPASS_CACHE",
            "KEYBOARD",
            "KEYCLOAK_HOST",
            "MONKEY",
            "SALTED",
            "MYSQL_ROOT_PASSWORD_FILE",
            "TLS_KEY_PATH",
            "SECRET_NAME",
            "WORDPRESS_DB_HOST",
        ] {
            assert!(!tells(name), "{name}");
        }
        assert!(is_switch("Yes") && !is_switch("yes-it-is"));
    }

    #[test]
    fn passwords_in_urls_are_found_and_hosts_are_left() {
        let of = |text: &str| {
            let found = url_passwords(text);
            found.into_iter().map(|range| text[range].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("at mysql://wp:hunter2@db:3306/wp and"), ["hunter2"]);
        assert_eq!(of("redis://:p@ss:w@cache"), ["p@ss:w"]);
        assert_eq!(of("url=\"http://a:b@c\" http://d:e@f"), ["b", "e"]);
        assert!(of("http://web:8080/?mail=a@b.c ssh://git@host http://h:80").is_empty());
    }
}
