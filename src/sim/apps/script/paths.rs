//! What commands find at a path, as far as a model can tell: images bring files of their own, and no
//! model lists them.

use std::path::Path;

use bytes::Bytes;

use crate::sim::apps::model::AppCx;
use crate::sim::machines::Mount;

/// Folders and devices that every image has, or gets from the runtime.
const EVERYWHERE: &[&str] =
    &["/", "/bin", "/dev", "/dev/null", "/etc", "/proc", "/sys", "/tmp", "/usr", "/var"];
/// Folders in which an image has no files of its own.
const EMPTY_AT_START: &[&str] = &["/tmp", "/dev/shm"];
/// Volumes whose files are those that the API holds, and no others.
const LISTED: &[&str] = &["configMap/", "secret/"];

/// The folders that a script has made.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<String>);

impl Made {
    /// How a command that looks at or changes paths ends; `None` where that is not known.
    pub(super) fn run(&mut self, words: &[&str], cx: &mut AppCx<'_>) -> Option<i32> {
        let (program, args) = words.split_first()?;
        let (flags, mut paths): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-') && arg.len() > 1);
        let has =
            |flag: char| flags.iter().any(|each| !each.starts_with("--") && each.contains(flag));
        match *program {
            "test" => {
                let [path] = paths[..] else { return None };
                return self
                    .test(flags.first()?, path, cx)
                    .filter(|_| flags.len() == 1)
                    .map(i32::from);
            }
            "mkdir" => {
                for path in paths {
                    let exists = self.exists(path, cx);
                    if is_read_only(path, cx) || (exists == Some(true) && !has('p')) {
                        return Some(1);
                    }
                    if exists.is_none() && !has('p') {
                        return None;
                    }
                    self.0.push(trimmed(path).to_owned());
                }
                return Some(0);
            }
            "rm" if has('f') => return Some(0),
            "chown" | "chmod" if flags.iter().any(|flag| flag.starts_with("--")) => return None,
            "chown" if !paths.first().is_some_and(|owner| is_known(owner, cx)) => return None,
            "chown" | "chmod" => {
                paths.remove(0);
                if paths.iter().any(|path| is_read_only(path, cx)) {
                    return Some(1);
                }
            }
            _ => {}
        }
        let found: Vec<Option<bool>> = paths.iter().map(|path| self.exists(path, cx)).collect();
        match found.contains(&Some(false)) {
            true => Some(1),
            false => (!found.contains(&None)).then_some(0),
        }
    }

    /// Whether `test` fails.
    fn test(&self, flag: &str, path: &str, cx: &AppCx<'_>) -> Option<bool> {
        let exists = self.exists(path, cx)?;
        match flag {
            _ if !exists => Some(true),
            "-e" => Some(false),
            "-f" if cx.files.read(path).is_some() => Some(false),
            _ => None,
        }
    }

    fn exists(&self, path: &str, cx: &AppCx<'_>) -> Option<bool> {
        if !path.starts_with('/') || path.contains(['*', '?', '$', '`', '[', '{', '~']) {
            return None;
        }
        let at = Path::new(trimmed(path));
        let begins = |of: &str, with: &Path| Path::new(of).starts_with(with);
        let inner = format!("{}/", path.trim_end_matches('/'));
        let mounts = &cx.start.mounts;
        let is_there = EVERYWHERE.contains(&trimmed(path))
            || cx.files.read(path).is_some()
            || !cx.files.list(&inner).is_empty()
            || self.0.iter().any(|made| begins(made, at))
            || mounts.iter().any(|mount| begins(&mount.path, at));
        if is_there {
            return Some(true);
        }
        match mount_of(path, mounts) {
            Some(mount) => {
                LISTED.iter().any(|class| mount.volume.starts_with(class)).then_some(false)
            }
            None => EMPTY_AT_START.iter().any(|folder| at.starts_with(folder)).then_some(false),
        }
    }
}

/// `touch` and `rm`.
pub(super) fn change(words: &[&str], cx: &mut AppCx<'_>) -> i32 {
    let mut code = 0;
    for path in words[1..].iter().filter(|word| !word.starts_with('-')) {
        if words[0] == "touch" {
            if cx.files.read(path).is_none() && !cx.files.write(path, Bytes::new()) {
                code = 1;
            }
            continue;
        }
        for inner in cx.files.list(&format!("{}/", path.trim_end_matches('/'))) {
            cx.files.remove(&inner);
        }
        cx.files.remove(path);
    }
    code
}

/// Whether an owner, `USER:GROUP`, is one that the image has: root, or a number.
fn is_known(owner: &str, cx: &AppCx<'_>) -> bool {
    owner.split([':', '.']).all(|name| match name {
        "" | "root" => true,
        // Alpine has none of its own.
        "www-data" => !cx.start.image.contains("alpine"),
        number => number.parse::<u32>().is_ok(),
    })
}

fn is_read_only(path: &str, cx: &AppCx<'_>) -> bool {
    mount_of(path, &cx.start.mounts).is_some_and(|mount| mount.read_only)
}

fn mount_of<'m>(path: &str, mounts: &'m [Mount]) -> Option<&'m Mount> {
    let inside = mounts.iter().filter(|mount| Path::new(path).starts_with(&mount.path));
    inside.max_by_key(|mount| mount.path.len())
}

fn trimmed(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}
