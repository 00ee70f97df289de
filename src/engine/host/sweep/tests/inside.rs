//! What lies inside: disks of nodes, and objects in clusters.

use std::sync::Mutex;

use futures::future::BoxFuture;

use super::super::super::call::Call;
use super::super::super::loops;
use super::*;
use crate::base::Error;

#[tokio::test]
async fn loop_devices_are_found_by_their_file() {
    let rig = Rig::new();
    let programs = rig.tools.programs();
    let lease = Lease::take(&rig.paths.leases(), "run-1", "run").expect("taken");
    let known = loops::attach(&rig.paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
    let unknown =
        loops::attach(&rig.paths, &programs, &lease, "b", 1 << 20).await.expect("attached");
    fs::write(rig.tools.folder().join("theirs"), "x").expect("written");
    let theirs = rig.tools.folder().join("theirs");
    let call = Call::new("losetup", ["--find", "--show"]).arg(&theirs);
    programs.run(&call).await.expect("attached");
    // The owner died before it wrote down the second device, and a lease names one of another.
    let theirs_thing = Thing::LoopDevice { device: "/dev/loop3".into(), file: "/gone".into() };
    rig.edit("run-1", |file| {
        file.owner.process.started += 1;
        file.things.retain(
            |thing| !matches!(thing, Thing::LoopDevice { file, .. } if *file == unknown.file),
        );
        file.things.push(theirs_thing);
    });
    let swept = rig.sweep(Scope::Dead).await;
    assert!(swept.is_clean(), "{swept:?}");
    assert!(!known.file.exists() && !unknown.file.exists());
    let devices = fs::read_to_string(rig.tools.folder().join("loops")).expect("readable");
    assert_eq!(devices.split_whitespace().collect::<Vec<_>>(), [theirs.to_str().expect("UTF-8")]);
}

#[tokio::test]
async fn a_loop_device_in_use_keeps_the_lease_and_its_file() {
    let rig = Rig::new();
    rig.tools.add("losetup", &FAKE_LOSETUP.replace("--detach)", "--detach) exit 0;"));
    let programs = rig.tools.programs();
    let lease = Lease::take(&rig.paths.leases(), "run-1", "run").expect("taken");
    let known = loops::attach(&rig.paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
    rig.edit("run-1", |file| file.owner.process.started += 1);
    let swept = rig.sweep(Scope::Dead).await;
    assert_eq!(swept.leases[0].left.len(), 2, "{swept:?}");
    assert!(swept.lines()[0].contains("/dev/loop1 is still in use"), "{swept:?}");
    assert!(known.file.exists() && rig.path("run-1").exists());
}

/// Deletes objects in the context `good` and no other; remembers the clusters that are about to go.
#[derive(Default)]
struct OneContext {
    going: Mutex<Vec<PathBuf>>,
}

impl InClusters for OneContext {
    fn remove<'a>(
        &'a self,
        lease: &'a str,
        kubeconfig: &'a str,
        context: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        assert_eq!((lease, kubeconfig), ("run-1", "/k"));
        let deleted = match context {
            "good" => Ok(()),
            _ => Err(Error::environment("no such context")),
        };
        Box::pin(async move { deleted })
    }

    fn before_delete<'a>(&'a self, kubeconfig: &'a Path) -> BoxFuture<'a, ()> {
        self.going.lock().expect("free").push(kubeconfig.to_owned());
        Box::pin(async {})
    }
}

#[tokio::test]
async fn objects_elsewhere_are_deleted_by_those_who_can() {
    let rig = Rig::new();
    let objects =
        |context: &str| Thing::Objects { kubeconfig: "/k".into(), context: context.into() };
    let path = rig.dead("run-1", vec![objects("good"), objects("bad")]);
    let swept = rig.sweep(Scope::Dead).await;
    assert!(swept.lines()[0].contains("`seatrial gc` deletes them"), "{swept:?}");
    let programs = rig.tools.programs();
    let swept = sweep_with(&rig.paths, &programs, &Scope::Dead, Some(&OneContext::default())).await;
    let [lease] = &swept.leases[..] else { panic!("{swept:?}") };
    assert_eq!(lease.removed, [objects("good")]);
    assert_eq!(lease.left, [(objects("bad"), "no such context".to_owned())]);
    assert_eq!(read(&path).expect("it is there").expect("whole").things, [objects("bad")]);
}

#[tokio::test]
async fn a_cluster_lets_go_of_its_mounts_before_it_goes() {
    let rig = Rig::new();
    for name in ["st-1", "st-2", "st-3"] {
        // The third is in the lease and was not made yet.
        if name != "st-3" {
            let label = format!("io.x-k8s.kind.cluster={name}");
            rig.container(&format!("{name}-control-plane"), &label, LATER);
        }
        fs::create_dir_all(rig.paths.cluster(name)).expect("a folder");
    }
    let kubeconfig = |name: &str| rig.paths.cluster(name).join("kubeconfig");
    for name in ["st-1", "st-3"] {
        fs::write(kubeconfig(name), "secret").expect("written");
    }
    rig.dead("run-1", ["st-1", "st-2", "st-3"].map(cluster).to_vec());
    let inside = OneContext::default();
    sweep_with(&rig.paths, &rig.tools.programs(), &Scope::Dead, Some(&inside)).await;
    assert_eq!(*inside.going.lock().expect("free"), [kubeconfig("st-1")]);
    assert!(rig.containers().is_empty(), "{:?}", rig.containers());
}
