//! What the image does before Apache runs (docker-library/wordpress `docker-entrypoint.sh`): copies
//! WordPress into an empty document root and writes `wp-config.php` with salts of its own.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use crate::base::millis;
use crate::sim::apps::model::{AppCx, Launch};
use crate::sim::apps::script::Main;

/// The document root, a volume of the image.
pub(super) const ROOT: &str = "/var/www/html/";
/// Its presence tells the entrypoint that WordPress has been copied.
pub(super) const INDEX: &str = "/var/www/html/index.php";
/// Settings and salts.
pub(super) const CONFIG: &str = "/var/www/html/wp-config.php";

/// Copying 3,000 files and starting Apache.
const START_WITH_COPY: (Duration, Duration) = (millis(1_000), millis(4_000));
/// Starting Apache alone.
const START: (Duration, Duration) = (millis(250), millis(800));
/// Apache with mod_php, a few idle children and the opcode cache, in bytes (measured runs: 25 to 33 MB
/// and 23 MB).
const MEMORY: (u64, u64) = (46 << 20, 54 << 20);
/// `MaxRequestWorkers` of the image (Debian's `mpm_prefork.conf`).
const N_WORKERS: usize = 150;
/// Apache's `ListenBacklog`.
const LISTEN_BACKLOG: usize = 511;
/// The names of the keys and salts in `wp-config.php`.
const SALT_NAMES: [&str; 8] = [
    "AUTH_KEY",
    "SECURE_AUTH_KEY",
    "LOGGED_IN_KEY",
    "NONCE_KEY",
    "AUTH_SALT",
    "SECURE_AUTH_SALT",
    "LOGGED_IN_SALT",
    "NONCE_SALT",
];

/// Copies what is missing, unless a command took the entrypoint's place, and tells how Apache comes up.
pub(super) fn run(main: Main, cx: &mut AppCx<'_>) -> Launch {
    let Main { after, mut log, words, is_bare } = main;
    let is_background = words.first().is_some_and(|program| program.ends_with("apache2"))
        && !words.join(" ").contains("FOREGROUND");
    if is_background {
        cx.notes.push(words.join(" "));
    }
    let base = Launch { n_workers: N_WORKERS, listen_backlog: LISTEN_BACKLOG, ..Launch::default() };
    let copies = !is_bare && cx.files.read(INDEX).is_none();
    if copies {
        log.push("WordPress not found in /var/www/html - copying now...".into());
        if !cx.files.write(INDEX, Bytes::from_static(b"<?php // wp-blog-header.php")) {
            log.push("tar: ./index.php: Cannot open: Read-only file system".into());
            return Launch { exits: Some((after + millis(300), 2)), log, ..base };
        }
        log.push("Complete! WordPress has been successfully copied to /var/www/html".into());
    }
    let has_settings = cx.start.env.iter().any(|(name, _)| name.starts_with("WORDPRESS_"));
    if !is_bare && cx.files.read(CONFIG).is_none() && has_settings {
        log.push(
            "No 'wp-config.php' found in /var/www/html, but 'WORDPRESS_...' variables supplied; \
                  copying 'wp-config-docker.php'"
                .into(),
        );
        let config = new_config(cx);
        cx.files.write(CONFIG, Bytes::from(config));
    }
    let (low, high) = if copies { START_WITH_COPY } else { START };
    let starts = cx.rng.between("wordpress-start", low, high);
    let spread = cx.rng.unit("wordpress-memory");
    // Truncation to whole bytes is meant.
    let memory_bytes = MEMORY.0 + (spread * (MEMORY.1 - MEMORY.0) as f64) as u64;
    log.push("[mpm_prefork:notice] Apache configured -- resuming normal operations".into());
    log.push("[core:notice] Command line: 'apache2 -D FOREGROUND'".into());
    Launch { listens: vec![(80, after + starts)], cpu: starts / 2, memory_bytes, log, ..base }
}

fn new_config(cx: &mut AppCx<'_>) -> String {
    let mut config = String::from("<?php\n");
    for name in SALT_NAMES {
        let (a, b) = (cx.rng.uuid("wordpress-salt"), cx.rng.uuid("wordpress-salt"));
        let salt: String = a.chars().chain(b.chars()).filter(|c| *c != '-').take(40).collect();
        let _ =
            writeln!(config, "define( '{name}', getenv_docker('WORDPRESS_{name}', '{salt}') );");
    }
    config
}

/// A salt: the variable of that name if it is set, else what `wp-config.php` holds.
pub(super) fn salt(name: &str, cx: &AppCx<'_>) -> String {
    let variable = cx
        .start
        .env
        .iter()
        .rev()
        .find(|(key, value)| key.strip_prefix("WORDPRESS_") == Some(name) && !value.is_empty());
    if let Some((_, value)) = variable {
        return value.clone();
    }
    let config = cx.files.read(CONFIG).unwrap_or_default();
    let text = std::str::from_utf8(&config).unwrap_or("");
    let marker = format!("'WORDPRESS_{name}', '");
    let rest = text.split_once(&marker).map_or("", |(_, rest)| rest);
    rest.split('\'').next().unwrap_or("").to_owned()
}
