//! What the image reads and the model does not: any of it makes a verdict `unknown`.

use std::path::Path;

use crate::sim::apps::model::AppCx;
use crate::sim::machines::Mount;

use super::entrypoint::ROOT;

/// Settings in `WORDPRESS_CONFIG_EXTRA` that no page shows; `wp-config-docker.php` evaluates them.
const HARMLESS_SETTINGS: &[&str] = &[
    "AUTOMATIC_UPDATER_DISABLED",
    "AUTOSAVE_INTERVAL",
    "DISABLE_WP_CRON",
    "DISALLOW_FILE_EDIT",
    "DISALLOW_FILE_MODS",
    "EMPTY_TRASH_DAYS",
    "FS_METHOD",
    "WP_AUTO_UPDATE_CORE",
    "WP_ENVIRONMENT_TYPE",
    "WP_MAX_MEMORY_LIMIT",
    "WP_MEMORY_LIMIT",
    "WP_POST_REVISIONS",
];
/// Settings of PHP that limit what scenarios never come near.
const HARMLESS_INI: &[&str] = &[
    "date.timezone",
    "file_uploads",
    "max_execution_time",
    "max_input_time",
    "max_input_vars",
    "memory_limit",
    "post_max_size",
    "upload_max_filesize",
];
/// Folders of the image that hold its programs and their settings.
const OF_IMAGE: [&str; 5] =
    ["/etc/apache2", "/usr/local/bin", "/usr/local/etc/php", "/usr/local/lib/php", "/usr/src"];
/// Further scripts of WordPress, which answer otherwise than the pages that are modelled.
pub(super) const OTHER_SCRIPTS: &[&str] = &[
    "/wp-activate.php",
    "/wp-blog-header.php",
    "/wp-cron.php",
    "/wp-links-opml.php",
    "/wp-load.php",
    "/wp-mail.php",
    "/wp-settings.php",
    "/wp-signup.php",
    "/wp-trackback.php",
];

/// Notes variables and mounts.
pub(super) fn note(cx: &mut AppCx<'_>) {
    let names = cx.start.env.iter().map(|(name, _)| name);
    // `getenv_docker` of wp-config-docker.php reads them.
    let files = names.filter(|name| name.starts_with("WORDPRESS_") && name.ends_with("_FILE"));
    cx.notes.extend(files.map(|name| format!("the variable {name}")));
    let extra = cx.start.env.iter().rev().find(|(name, _)| name == "WORDPRESS_CONFIG_EXTRA");
    if extra.is_some_and(|(_, php)| !is_harmless_php(php)) {
        cx.notes.push("the variable WORDPRESS_CONFIG_EXTRA".into());
    }
    let mounts = cx.start.mounts.iter().filter(|mount| !is_followed(mount, cx));
    let mounts: Vec<_> =
        mounts.map(|mount| format!("{} mounted in WordPress", mount.path)).collect();
    cx.notes.extend(mounts);
}

/// Whether all of `php` defines settings that do not matter.
fn is_harmless_php(php: &str) -> bool {
    let Some(statements) = php.trim().strip_suffix(';') else { return php.trim().is_empty() };
    statements.split(';').all(|statement| {
        let inner =
            statement.trim().strip_prefix("define(").and_then(|rest| rest.strip_suffix(')'));
        let setting = inner.and_then(|inner| inner.split_once(','));
        setting.is_some_and(|(name, value)| {
            let value = value.trim();
            let text = unquoted(value).unwrap_or(value);
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let known = unquoted(name.trim()).is_some_and(|name| HARMLESS_SETTINGS.contains(&name));
            known && !text.is_empty() && text.chars().all(is_plain)
        })
    })
}

/// A literal without its quotes.
fn unquoted(text: &str) -> Option<&str> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"'))
}

/// Whether the model acts on a mount: the document root, what WordPress stores there, and places the
/// image has nothing in.
fn is_followed(mount: &Mount, cx: &AppCx<'_>) -> bool {
    let path = Path::new(&mount.path);
    if OF_IMAGE.iter().any(|folder| path.starts_with(folder)) {
        let content = cx.files.read(&mount.path).unwrap_or_default();
        let is_ini = path.extension().is_some_and(|extension| extension == "ini");
        return is_ini && is_harmless_ini(&String::from_utf8_lossy(&content));
    }
    path.strip_prefix(ROOT).map_or(true, |inside| {
        inside.as_os_str().is_empty()
            || inside.starts_with("wp-content/uploads")
            || (inside.starts_with("wp-content") && !mount.read_only)
    })
}

fn is_harmless_ini(ini: &str) -> bool {
    ini.lines().map(str::trim).all(|line| {
        let is_blank = line.is_empty() || line.starts_with([';', '#', '[']);
        let name = line.split_once('=').map_or("", |(name, _)| name.trim());
        is_blank || HARMLESS_INI.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rstest::rstest;

    use super::super::WordPress;
    use crate::sim::apps::testing::Bench;
    use crate::sim::machines::Mount;

    #[rstest]
    #[case("define('DISALLOW_FILE_MODS', true);", true)]
    #[case("define( \"WP_MEMORY_LIMIT\", '256M' );\ndefine('WP_POST_REVISIONS', 3);", true)]
    #[case("define('DISALLOW_FILE_MODS', true", false)]
    #[case("define('WP_HOME', 'https://blog.example.org');", false)]
    #[case("$_SERVER['HTTPS'] = 'on';", false)]
    #[case("", true)]
    fn settings_in_php_are_noted_unless_they_are_known(#[case] php: &str, #[case] known: bool) {
        let mut bench = Bench::new("wordpress").env(&[("WORDPRESS_CONFIG_EXTRA", php)]);
        bench.launch(&mut WordPress::default());
        assert_eq!(bench.notes.is_empty(), known, "{:?}", bench.notes);
    }

    #[rstest]
    #[case("/var/www/html", false, true)]
    #[case("/var/www/html/wp-content/uploads/", false, true)]
    #[case("/var/www/html/wp-content/plugins", false, true)]
    #[case("/var/www/html/wp-content/plugins", true, false)]
    #[case("/var/www/html/wp-config.php", true, false)]
    #[case("/etc/apache2/ports.conf", true, false)]
    #[case("/usr/local/etc/php/conf.d", true, false)]
    #[case("/usr/local/etc/php/conf.d/uploads.ini", true, true)]
    #[case("/usr/local/etc/php/conf.d/opcache.ini", true, false)]
    #[case("/tmp", false, true)]
    fn mounts_are_noted_where_they_change_the_program(
        #[case] path: &str,
        #[case] read_only: bool,
        #[case] followed: bool,
    ) {
        let mut bench = Bench::new("wordpress");
        let path = path.to_owned();
        let limits = "[PHP]\n; larger files\nupload_max_filesize = 64M\npost_max_size=64M\n";
        for (file, content) in [("uploads.ini", limits), ("opcache.ini", "opcache.enable=0")] {
            let file = format!("/usr/local/etc/php/conf.d/{file}");
            bench.disk.files.insert(file, Bytes::from(content));
        }
        let (volume, sub_path) = ("v".to_owned(), String::new());
        bench.start.mounts = vec![Mount { path, volume, sub_path, read_only }];
        bench.launch(&mut WordPress::default());
        assert_eq!(bench.notes.is_empty(), followed, "{:?}", bench.notes);
    }
}
