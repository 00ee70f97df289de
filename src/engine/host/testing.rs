//! Stand-ins for programs, for tests: shell scripts in a folder that is searched first.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Programs;

/// A `losetup` that keeps its devices in the file `loops`, one per line. As the kernel does, it names
/// the files behind them without the links on the way.
pub(crate) const FAKE_LOSETUP: &str = r#"
case "$1" in
  --find) readlink -f "$3" >> "$HERE/loops"; echo "/dev/loop$(wc -l < "$HERE/loops")" ;;
  --detach) n=${2#/dev/loop}; sed -i "${n}s/.*//" "$HERE/loops" ;;
  --list) [ -e "$HERE/loops" ] || exit 0
    awk 'BEGIN { printf "{\"loopdevices\": [" }
      NF { printf "%s{\"name\":\"/dev/loop%d\",\"back-file\":\"%s\"}", sep, NR, $0; sep = "," }
      END { print "]}" }' "$HERE/loops" ;;
esac
"#;

/// A `docker` whose containers are the files in `containers`: first line a label, second when it
/// was made. Knows `ps` with one label, `container inspect` and `rm`.
pub(crate) const FAKE_DOCKER: &str = r#"
echo "$DOCKER_HOST docker $*" >> "$HERE/calls"
mkdir -p "$HERE/containers"; cd "$HERE/containers" || exit 1
case "$1" in
  ps) for name in *; do
      if [ -e "$name" ] && grep -qxF "${5#label=}" "$name"; then echo "$name"; fi
    done ;;
  container) shift 4; for name in "$@"; do echo ""$(sed -n 2p "$name")""; done ;;
  rm) shift 3; rm "$@" ;;
esac
"#;

/// A `kind` over that `docker` which can delete a cluster; it locks the kubeconfig beside it.
pub(crate) const FAKE_KIND: &str = r#"
echo "$DOCKER_HOST $KIND_EXPERIMENTAL_PROVIDER kind $*" >> "$HERE/calls"
[ "$1 $2 $3 $5" = "delete cluster --name --kubeconfig" ] || exit 1
mkdir -p "$(dirname "$6")"
for name in $(docker ps --all --no-trunc --filter "label=io.x-k8s.kind.cluster=$4"); do
  docker rm --force --volumes "$name"
done
"#;

/// A folder of stand-ins; it goes when this is dropped.
pub(crate) struct FakeTools {
    folder: tempfile::TempDir,
}

impl FakeTools {
    /// None yet.
    pub(crate) fn new() -> Self {
        FakeTools { folder: tempfile::tempdir().expect("a folder") }
    }

    /// Where they are, and where their scripts may keep what they remember.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds or replaces the program `name`: a script for `sh`, in which `$HERE` is the folder.
    pub(crate) fn add(&self, name: &str, script: &str) {
        let text = self.folder().join(format!("{name}.script"));
        let here = self.folder().display();
        fs::write(&text, format!("#!/bin/sh\nHERE='{here}'\n{script}\n")).expect("written");
        // Copied by another process: a program that this one has open for writing, or whose
        // descriptor a fork beside us inherited, could not be started (`Text file busy`).
        let copied = Command::new("install")
            .args(["-m", "755"])
            .args([&text, &self.folder().join(name)])
            .status();
        assert!(copied.expect("`install` runs").success());
    }

    /// Programs that find these first.
    pub(crate) fn programs(&self) -> Programs {
        Programs::real_in(self.folder())
    }
}
