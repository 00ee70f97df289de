//! Loop devices: disks for Ceph where there are none, each over a sparse file of ours.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::call::Call;
use super::lease::Lease;
use super::lease_file::Thing;
use super::paths::{Paths, make_private_folder, unwritable};
use super::program::{ProgramError, Programs};
use crate::base::Error;

/// An attached loop device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    /// As in `/dev/loop7`.
    pub device: PathBuf,
    /// The file behind it.
    pub file: PathBuf,
}

impl LoopDevice {
    fn thing(&self) -> Thing {
        Thing::LoopDevice { device: self.device.clone(), file: self.file.clone() }
    }
}

/// Makes a file called `name` that takes no room yet, of `bytes`, and attaches a loop device.
///
/// The file is in the lease before it exists, the device as soon as its name is known; in between
/// the sweep finds it by its file.
///
/// # Errors
/// The file cannot be made, or no device can be had.
pub async fn attach(
    paths: &Paths,
    programs: &Programs,
    lease: &Lease,
    name: &str,
    bytes: u64,
) -> Result<LoopDevice, Error> {
    let file = paths.loops().join(name);
    lease.will_make(Thing::Path { path: file.clone() })?;
    if !programs.is_dry() {
        make_private_folder(&paths.loops())?;
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let sized = open.and_then(|open| open.set_len(bytes));
        sized.map_err(|error| unwritable(&file, &error))?;
    }
    let call = Call::new("losetup", ["--find", "--show"]).arg(&file).when_dry("/dev/loop0\n");
    let answer = programs.run(&call).await.map_err(|error| {
        Error::environment(format!(
            "{error}\nloop devices need root and the module `loop`; `seatrial doctor` looks at both"
        ))
    })?;
    let device = PathBuf::from(answer.stdout.trim());
    if !device.starts_with("/dev") {
        let said = answer.stdout.trim();
        return Err(Error::environment(format!(
            "`losetup --find --show` said `{said}`: no device"
        )));
    }
    let attached = LoopDevice { device, file };
    lease.will_make(attached.thing())?;
    Ok(attached)
}

/// Detaches `attached`, removes its file and strikes both out of the lease.
///
/// # Errors
/// The device is still in use, or one of the two cannot be removed.
pub async fn detach(
    programs: &Programs,
    lease: &Lease,
    attached: &LoopDevice,
) -> Result<(), Error> {
    let (device, file) = (&attached.device, &attached.file);
    if programs.is_dry() {
        detach_device(programs, device).await?;
    } else {
        if attached_to(programs, file).await?.contains(device) {
            detach_device(programs, device).await?;
        }
        // A device in use is detached only when its last user lets go.
        if attached_to(programs, file).await?.contains(device) {
            return Err(Error::environment(format!(
                "{} is still in use; end what uses it, then `losetup --detach {0}` and remove {}",
                device.display(),
                file.display()
            )));
        }
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritable(file, &error));
            }
            _ => {}
        }
    }
    lease.is_gone(&attached.thing())?;
    lease.is_gone(&Thing::Path { path: file.clone() })
}

/// The devices over `file`, which may be deleted by now.
///
/// # Errors
/// `losetup` does not list them.
pub async fn attached_to(programs: &Programs, file: &Path) -> Result<Vec<PathBuf>, ProgramError> {
    #[derive(Deserialize)]
    struct Listing {
        loopdevices: Vec<Device>,
    }
    #[derive(Deserialize)]
    struct Device {
        name: PathBuf,
        #[serde(rename = "back-file")]
        back_file: Option<String>,
    }
    let call = Call::new("losetup", ["--list", "--json", "--output", "NAME,BACK-FILE"]);
    let ran = programs.run(&call).await?;
    // Nothing at all is printed where there are none.
    let devices =
        serde_json::from_str::<Listing>(&ran.stdout).map_or(Vec::new(), |l| l.loopdevices);
    let file = resolved(file);
    let file = file.to_string_lossy();
    let is_over = |device: &Device| {
        let behind = device.back_file.as_deref().unwrap_or("");
        behind.strip_suffix(" (deleted)").unwrap_or(behind) == file
    };
    Ok(devices.into_iter().filter(is_over).map(|device| device.name).collect())
}

/// `file` as the kernel names it: without the links on the way to it. The file itself may be gone.
fn resolved(file: &Path) -> PathBuf {
    let folder = file.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
    match (folder, file.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => file.to_owned(),
    }
}

pub(super) async fn detach_device(programs: &Programs, device: &Path) -> Result<(), ProgramError> {
    programs.run(&Call::new("losetup", ["--detach"]).arg(device)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::give_back;
    use super::super::testing::{FAKE_LOSETUP, FakeTools};
    use super::*;

    #[tokio::test]
    async fn a_device_comes_with_its_file_and_goes_with_it() {
        let tools = FakeTools::new();
        tools.add("losetup", FAKE_LOSETUP);
        let paths = Paths::below(&tools.folder().join("home"));
        let lease = Lease::take(&paths.leases(), "run-1", "run").expect("taken");
        let programs = tools.programs();
        let first = attach(&paths, &programs, &lease, "a", 1 << 33).await.expect("attached");
        let second = attach(&paths, &programs, &lease, "b", 1 << 33).await.expect("attached");
        assert_eq!(second.device, Path::new("/dev/loop2"));
        assert_eq!(std::fs::metadata(&first.file).expect("it exists").len(), 1 << 33);
        assert_eq!(lease.things().len(), 4);

        for attached in [&first, &second] {
            detach(&programs, &lease, attached).await.expect("detached");
            assert!(!attached.file.exists());
        }
        lease.release().expect("nothing is left");
    }

    /// Whether this machine and user have loop devices, found out without the code under test.
    fn has_loop_devices(folder: &Path) -> bool {
        let file = folder.join("probe");
        std::fs::write(&file, vec![0; 4096]).expect("written");
        let losetup = |args: &[&std::ffi::OsStr]| {
            std::process::Command::new("losetup")
                .args(args)
                .output()
                .ok()
                .filter(|o| o.status.success())
        };
        let made = losetup(&["--find".as_ref(), "--show".as_ref(), file.as_os_str()]);
        let Some(made) = made else { return false };
        let device = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        losetup(&["--detach".as_ref(), device.as_ref()]).is_some()
    }

    /// Folders of ours below `folder`, behind a link.
    fn linked(folder: &Path) -> Paths {
        let link = folder.join("link");
        std::fs::create_dir(folder.join("real")).expect("made");
        std::os::unix::fs::symlink("real", &link).expect("made");
        Paths::below(&link)
    }

    #[tokio::test]
    async fn a_link_on_the_way_to_the_file_hides_no_device() {
        let tools = FakeTools::new();
        tools.add("losetup", FAKE_LOSETUP);
        let paths = linked(tools.folder());
        let lease = Lease::take(&paths.leases(), "run-linked", "run").expect("taken");
        let programs = tools.programs();
        let behind = || std::fs::read_to_string(tools.folder().join("loops")).expect("readable");
        let known = attach(&paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
        assert!(behind().contains("/real/"), "{}", behind());
        detach(&programs, &lease, &known).await.expect("detached");
        assert_eq!(behind().trim(), "");

        let known = attach(&paths, &programs, &lease, "b", 1 << 20).await.expect("attached");
        let unknown = attach(&paths, &programs, &lease, "c", 1 << 20).await.expect("attached");
        // As when its maker was killed before it was told the device.
        lease.is_gone(&unknown.thing()).expect("written");
        assert!(give_back(&paths, &programs, &lease, None).await.is_clean());
        assert_eq!(behind().trim(), "");
        assert!(!known.file.exists() && !unknown.file.exists());
        lease.release().expect("nothing is left");
    }

    #[rstest]
    #[case::plain(Paths::below)]
    #[case::behind_a_link(linked)]
    #[tokio::test]
    async fn a_real_device_comes_and_goes(#[case] paths_below: fn(&Path) -> Paths) {
        let folder = tempfile::tempdir().expect("a folder");
        if !has_loop_devices(folder.path()) {
            eprintln!("skipped: no loop devices for this user on this machine");
            return;
        }
        let paths = paths_below(folder.path());
        let lease = Lease::take(&paths.leases(), "run-1", "run").expect("taken");
        let programs = Programs::real();
        let attached = attach(&paths, &programs, &lease, "a", 1 << 33).await.expect("attached");
        let over = async || attached_to(&programs, &attached.file).await.expect("listed");
        assert_eq!(over().await, std::slice::from_ref(&attached.device));
        detach(&programs, &lease, &attached).await.expect("detached");
        assert!(over().await.is_empty());
        assert!(!attached.file.exists());
        lease.release().expect("nothing is left");
    }

    #[tokio::test]
    async fn a_device_in_use_stays_in_the_lease() {
        let tools = FakeTools::new();
        tools.add("losetup", &FAKE_LOSETUP.replace("--detach)", "--detach) exit 0;"));
        let paths = Paths::below(&tools.folder().join("home"));
        let lease = Lease::take(&paths.leases(), "run-1", "run").expect("taken");
        let programs = tools.programs();
        let attached = attach(&paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
        let error = detach(&programs, &lease, &attached).await.expect_err("in use").to_string();
        assert!(error.contains("/dev/loop1 is still in use"), "{error}");
        assert_eq!(lease.things().len(), 2);
        assert!(attached.file.exists());
    }

    #[tokio::test]
    async fn a_dry_run_makes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = Paths::below(folder.path());
        let lease = Lease::take(&paths.leases(), "run-1", "run").expect("taken");
        let programs = Programs::dry();
        let attached = attach(&paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
        detach(&programs, &lease, &attached).await.expect("detached");
        assert!(!paths.loops().exists());
        let file = attached.file.display();
        assert_eq!(
            programs.written_down(),
            [format!("losetup --find --show {file}"), "losetup --detach /dev/loop0".to_owned()]
        );
    }
}
