//! Files: volumes shared by identity, and the own layer of each container.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::types::{ContainerId, Mount};
use crate::sim::apps::Files;

/// Content by path, paths without a leading slash.
pub(super) type Tree = BTreeMap<String, Bytes>;

/// All volumes by identity. Shared between a program and the peers it calls while it runs.
#[derive(Debug, Default)]
pub(super) struct VolumeTrees {
    trees: RefCell<BTreeMap<String, Tree>>,
    /// Who holds a lock, by volume and path.
    locks: RefCell<BTreeMap<(String, String), ContainerId>>,
}

impl VolumeTrees {
    /// Replaces the content of a volume.
    pub(super) fn replace(&self, volume: &str, tree: Tree) {
        self.trees.borrow_mut().insert(volume.to_owned(), tree);
    }

    /// Frees what a process had locked; the kernel does so when it ends (`fcntl_locking(2)`).
    pub(super) fn unlock(&self, owner: ContainerId) {
        self.locks.borrow_mut().retain(|_, holder| *holder != owner);
    }

    /// Gives a volume that nobody has used yet its first path; an empty folder ends with a slash.
    pub(super) fn begin(&self, volume: &str, path: &str) {
        let mut trees = self.trees.borrow_mut();
        trees
            .entry(volume.to_owned())
            .or_insert_with(|| Tree::from([(path.to_owned(), Bytes::new())]));
    }

    /// Removes all volumes whose identity begins with `prefix`.
    pub(super) fn remove_prefix(&self, prefix: &str) {
        let mut trees = self.trees.borrow_mut();
        let doomed: Vec<String> = trees
            .range(prefix.to_owned()..)
            .map(|(volume, _)| volume)
            .take_while(|volume| volume.starts_with(prefix))
            .cloned()
            .collect();
        for volume in doomed {
            trees.remove(&volume);
        }
    }
}

/// Files as one container sees them.
pub(super) struct View<'a> {
    pub(super) owner: ContainerId,
    pub(super) mounts: &'a [Mount],
    pub(super) layer: &'a mut Tree,
    pub(super) volumes: &'a VolumeTrees,
}

impl View<'_> {
    /// The mount `path` lies below (the longest wins) and the path inside its volume.
    fn mounted(&self, path: &str) -> Option<(&Mount, String)> {
        let path = path.trim_start_matches('/');
        let (mount, rest) = self
            .mounts
            .iter()
            .filter_map(|mount| Some((mount, below(path, &mount.path)?)))
            .max_by_key(|(mount, _)| mount.path.len())?;
        Some((mount, join(&mount.sub_path, rest)))
    }
}

impl Files for View<'_> {
    fn read(&self, path: &str) -> Option<Bytes> {
        match self.mounted(path) {
            Some((mount, inner)) => {
                self.volumes.trees.borrow().get(&mount.volume)?.get(&inner).cloned()
            }
            None => self.layer.get(path.trim_start_matches('/')).cloned(),
        }
    }

    fn write(&mut self, path: &str, content: Bytes) -> bool {
        match self.mounted(path) {
            Some((mount, _)) if mount.read_only => false,
            Some((mount, inner)) => {
                let mut trees = self.volumes.trees.borrow_mut();
                trees.entry(mount.volume.clone()).or_default().insert(inner, content);
                true
            }
            None => {
                self.layer.insert(path.trim_start_matches('/').to_owned(), content);
                true
            }
        }
    }

    fn list(&self, prefix: &str) -> Vec<String> {
        let wanted = prefix.trim_start_matches('/');
        let mut paths: Vec<String> = self
            .layer
            .range(wanted.to_owned()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(wanted))
            .filter(|path| self.mounted(path).is_none())
            .map(|path| format!("/{path}"))
            .collect();
        let trees = self.volumes.trees.borrow();
        for mount in self.mounts {
            let Some(tree) = trees.get(&mount.volume) else { continue };
            for inner in tree.keys() {
                let Some(rest) = below(inner, &mount.sub_path) else { continue };
                let path = join(mount.path.trim_start_matches('/'), rest);
                if path.starts_with(wanted)
                    && self.mounted(&path).is_some_and(|(owner, _)| owner == mount)
                {
                    paths.push(format!("/{path}"));
                }
            }
        }
        paths.sort();
        paths
    }

    fn remove(&mut self, path: &str) {
        match self.mounted(path) {
            Some((mount, _)) if mount.read_only => {}
            Some((mount, inner)) => {
                if let Some(tree) = self.volumes.trees.borrow_mut().get_mut(&mount.volume) {
                    tree.remove(&inner);
                }
            }
            None => {
                self.layer.remove(path.trim_start_matches('/'));
            }
        }
    }

    fn lock(&mut self, path: &str) -> bool {
        // The container's own layer is nobody else's.
        let Some((mount, inner)) = self.mounted(path) else { return true };
        let mut locks = self.volumes.locks.borrow_mut();
        *locks.entry((mount.volume.clone(), inner)).or_insert(self.owner) == self.owner
    }
}

/// The part of `path` below the directory `root`, if it lies there.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let root = root.trim_matches('/');
    if root.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

fn join(left: &str, right: &str) -> String {
    let left = left.trim_matches('/');
    match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_owned(),
        (_, true) => left.to_owned(),
        _ => format!("{left}/{right}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, volume: &str, sub_path: &str, read_only: bool) -> Mount {
        Mount { path: path.into(), volume: volume.into(), sub_path: sub_path.into(), read_only }
    }

    #[test]
    fn volumes_are_shared_and_the_layer_is_not() {
        let volumes = VolumeTrees::default();
        let mounts = [mount("/var/www", "pv/a", "", false), mount("/etc/conf", "pv/b", "", true)];
        let (mut layer_a, mut layer_b) = (Tree::new(), Tree::new());
        let (one, two) = (ContainerId(1), ContainerId(2));
        let mut a = View { owner: one, mounts: &mounts, layer: &mut layer_a, volumes: &volumes };
        assert!(a.write("/var/www/index.php", Bytes::from_static(b"x")));
        assert!(a.write("/var/wwwroot/own", Bytes::from_static(b"y")));
        assert!(!a.write("/etc/conf/z", Bytes::from_static(b"z")));
        let mut b = View { owner: two, mounts: &mounts, layer: &mut layer_b, volumes: &volumes };
        assert_eq!(b.read("/var/www/index.php").as_deref(), Some(&b"x"[..]));
        assert_eq!(b.read("/var/wwwroot/own"), None);
        assert_eq!(b.list("/var/"), ["/var/www/index.php"]);
        assert!(a.lock("/var/www/db") && a.lock("/var/www/db") && a.lock("/tmp/own"));
        assert!(!b.lock("/var/www/db") && b.lock("/tmp/own"));
        volumes.unlock(one);
        assert!(b.lock("/var/www/db"));
    }

    #[test]
    fn a_sub_path_is_a_folder_of_the_volume() {
        let volumes = VolumeTrees::default();
        let (whole, part) =
            ([mount("/data", "pv/a", "", false)], [mount("/html", "pv/a", "html", false)]);
        let mut layer = Tree::new();
        let mut view =
            View { owner: ContainerId(1), mounts: &part, layer: &mut layer, volumes: &volumes };
        assert!(view.write("/html/a/b", Bytes::from_static(b"1")));
        assert_eq!(view.list("/html/"), ["/html/a/b"]);
        view.mounts = &whole;
        assert_eq!(view.read("/data/html/a/b").as_deref(), Some(&b"1"[..]));
        volumes.remove_prefix("pv/");
        assert_eq!(view.list("/"), Vec::<String>::new());
    }
}
