//! Images: what is missing, what is proven, and how they get into the nodes.

use super::*;

#[tokio::test]
async fn missing_images_are_all_listed_before_a_cluster_is_made() {
    let mut machine = Machine::new().await;
    let archives = machine.file("archives");
    fs::create_dir(&archives).expect("a folder");
    write_tar(&archives.join("a.tar"), &[("manifest.json", r#"[{"RepoTags":["wordpress:6"]}]"#)]);
    fs::write(machine.file("images"), "node:1\nhere:1\n").expect("written");
    let spec = KindSpec {
        images: Some(archives.clone()),
        wanted_images: ["wordpress:6", "here:1", "gone:1", "x.y/lost:2@sha256:ff"]
            .map(String::from)
            .to_vec(),
        ..spec()
    };
    let error = machine.create(&spec).await.expect_err("two are missing").to_string();
    let wanted = format!(
        "2 images of the stack and its add-ons are neither in {} (archives: 1) nor in docker:\n  \
         gone:1\n  x.y/lost:2@sha256:ff\nget each in one of these ways:\n  docker pull gone:1\n  \
         docker pull x.y/lost:2@sha256:ff && docker tag x.y/lost:2@sha256:ff x.y/lost:2\n  \
         or `docker save --output NAME.tar IMAGE...` where it is, and the file into the folder of \
         --images",
        archives.display()
    );
    assert_eq!(error, wanted);
    assert!(!machine.calls().iter().any(|call| call.starts_with("kind")));
    let plan = plan(&KindSpec { registry: true, ..spec }, &machine.containers).await;
    let plan = plan.expect("a registry may serve them");
    assert_eq!(plan.archives, [archives.join("a.tar")]);
    assert_eq!(plan.local, ["here:1"]);
    let pulled: Vec<_> = plan.pulled.iter().map(ToString::to_string).collect();
    assert_eq!(pulled, ["docker.io/library/gone:1", "x.y/lost:2@sha256:ff"]);
}

#[tokio::test]
async fn a_registry_that_does_not_start_is_told_and_done_without() {
    let machine = Machine::new().await;
    // There is no place for its lock.
    fs::create_dir_all(&machine.paths.state).expect("a folder");
    fs::write(machine.paths.locks(), "").expect("written");
    let spec = KindSpec { registry: true, wanted_images: vec!["gone:1".into()], ..spec() };
    let told = RefCell::new(Vec::new());
    let tell = |line: &str| told.borrow_mut().push(line.to_owned());
    let created = create(&spec, &machine.containers, &machine.lease, &machine.paths, &tell).await;
    let told = told.into_inner();
    let [line] = &told[..] else { panic!("{told:?}") };
    let what = "the pull-through registry for docker.io does not start (cannot write ";
    assert!(line.starts_with(what), "{line}");
    let advice = "; the nodes pull from https://registry-1.docker.io by themselves";
    assert!(line.ends_with(advice), "{line}");
    // It went on, as far as the fake goes, which has no API.
    let error = created.expect_err("no API").to_string();
    assert!(error.contains("kubeconfig"), "{error}");
    assert!(!machine.calls().iter().any(|call| call.contains("certs.d")), "{:?}", machine.calls());
}

#[tokio::test]
async fn a_digest_is_proven_by_an_index_or_the_engine_and_named_in_the_nodes() {
    let mut machine = Machine::new().await;
    let archives = machine.file("archives");
    fs::create_dir(&archives).expect("a folder");
    let index = r#"{"manifests":[{"digest":"sha256:aa","annotations":{"io.containerd.image.name":"a.b/c:1"}}]}"#;
    write_tar(&archives.join("a.tar"), &[("index.json", index)]);
    fs::write(machine.file("images"), "node:1\na.b/d:1\na.b/d:1@sha256:dd\n").expect("written");
    let spec = KindSpec {
        images: Some(archives),
        wanted_images: ["a.b/c:1@sha256:aa", "a.b/c:1@sha256:bb", "a.b/d:1@sha256:dd"]
            .map(String::from)
            .to_vec(),
        ..spec()
    };
    let plan = plan(&spec, &machine.containers).await.expect("all are there");
    assert_eq!(plan.local, ["a.b/d:1"]);
    let unproven: Vec<_> = plan.unproven.iter().map(ToString::to_string).collect();
    assert_eq!(unproven, ["a.b/c:1@sha256:bb"]);
    let cluster = machine.raised().await;
    load(&cluster, &plan, None, &machine.containers).await.expect("loaded");
    let tags = machine.calls().into_iter().filter(|call| call.contains("images tag"));
    let mut worker: Vec<_> = tags.filter(|call| call.contains("st-test-worker2")).collect();
    worker.sort();
    let command = "docker exec st-test-worker2 ctr --namespace=k8s.io images tag --force";
    assert_eq!(
        worker,
        [
            format!("{command} a.b/c:1 a.b/c@sha256:aa"),
            format!("{command} a.b/c:1 a.b/c@sha256:bb"),
            format!("{command} a.b/d:1 a.b/d@sha256:dd"),
        ]
    );
}

#[tokio::test]
async fn an_archive_with_absent_platforms_is_fed_to_each_node() {
    let mut machine = Machine::new().await;
    let cluster = machine.raised().await;
    fs::write(machine.file("faults/platform"), "").expect("a fault");
    let archive = machine.file("a.tar");
    fs::write(&archive, "x").expect("written");
    let plan = ImagePlan { archives: vec![archive], ..ImagePlan::default() };
    load(&cluster, &plan, None, &machine.containers).await.expect("loaded");
    let imports = machine.calls().into_iter().filter(|call| call.contains("images import -"));
    assert_eq!(imports.count(), 4);
}

#[tokio::test]
async fn an_old_docker_saves_without_a_platform() {
    let machine = Machine::with_faults(&[("old", "")]).await;
    let file = machine.file("saved.tar");
    machine.containers.save(&["a:1".into(), "b:1".into()], &file).await.expect("saved");
    assert!(file.exists());
    let saves: Vec<_> =
        machine.calls().into_iter().filter(|call| call.starts_with("docker save")).collect();
    assert_eq!(
        saves,
        [
            "docker save --platform linux/amd64 --output /saved.tar a:1 b:1",
            "docker save --output /saved.tar a:1 b:1"
        ]
    );
}
