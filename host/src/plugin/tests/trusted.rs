//! Pins and signatures: what is checked is what is loaded.

use super::*;

fn by_key(key: &str) -> PinAs<'_> {
    PinAs {
        key: Some(key),
        ..PinAs::default()
    }
}

const NOW_MS: i64 = 1_764_000_000_000;

fn with_lock(room: &Room, account: Option<&str>) -> TrustPolicy {
    TrustPolicy::new(None, &room.path("data"), &[], false, account)
}

fn plan(room: &Room, file: &Path, policy: TrustPolicy) -> SearchPlan {
    room.plan(&[file], &[]).trusting(policy)
}

/// The code with which a load is refused before anything runs; nothing if it would go on.
#[track_caller]
fn refused_with(room: &Room, plan: &SearchPlan, name: &str) -> Option<PluginError> {
    loader::keep(plan, Some(name), &room.path("data")).err()
}

#[test]
fn without_a_lock_all_may_be_loaded_and_with_one_only_what_is_pinned() {
    let room = Room::new();
    let a = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let b = room.file("b.so", &plugin_bytes(&manifest_json("beta")));
    let both = |room: &Room| room.plan(&[&a, &b], &[]).trusting(with_lock(room, None));
    assert_eq!(refused_with(&room, &both(&room), "beta"), None);
    assert!(
        pin(&both(&room), "alpha", PinAs::default(), NOW_MS, |_| None)
            .expect("pinned")
            .first
    );
    assert_eq!(refused_with(&room, &both(&room), "alpha"), None);
    let error = refused_with(&room, &both(&room), "beta").expect("not pinned");
    assert_eq!(error.code(), UNPINNED);
    let hash = store::hash(&b).expect("hash");
    let mend = format!("qt-host plugins trust {}", b.display());
    for part in [&*hash, "plugins.lock", &*mend] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(
        !pin(&both(&room), "beta", PinAs::default(), NOW_MS, |_| None)
            .expect("pinned")
            .first
    );
    assert_eq!(refused_with(&room, &both(&room), "beta"), None);
    assert_eq!(with_lock(&room, None).unpin("ALPHA"), Ok(1));
    assert_eq!(
        refused_with(&room, &both(&room), "alpha").map(|e| e.code()),
        Some(UNPINNED)
    );
}

#[test]
fn a_changed_file_is_refused_with_both_hashes_and_where_it_was_pinned() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let plan = plan(&room, &file, with_lock(&room, None));
    let pinned = pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| None)
        .expect("pinned")
        .pin;
    let mut text = manifest_json("alpha");
    text["version"] = json!("1.2.4");
    room.file("a.so", &plugin_bytes(&text));
    let error = refused_with(&room, &plan, "alpha").expect("changed");
    assert_eq!(error.code(), PIN_CHANGED);
    let actual = store::hash(&file).expect("hash");
    for part in [
        &*pinned.sha256,
        &*actual,
        "2025-11-24T16:00:00Z",
        "plugins.lock",
        &*format!("qt-host plugins trust {}", file.display()),
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| None).expect("pinned again");
    assert_eq!(refused_with(&room, &plan, "alpha"), None);
    let pins = plan.trust().pins().expect("pins");
    assert_eq!(pins.len(), 2, "the version before stays trusted: {pins:?}");
}

/// Whoever trusts another version and goes back must find the one before still trusted; only `--only` drops it.
#[test]
fn a_version_stays_pinned_beside_the_next_one_until_only_one_is_wanted() {
    let room = Room::new();
    let first = plugin_bytes(&manifest_json("alpha"));
    let mut text = manifest_json("alpha");
    text["version"] = json!("1.2.4");
    let second = plugin_bytes(&text);
    let file = room.file("a.so", &first);
    let plan = plan(&room, &file, with_lock(&room, None));
    pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| None).expect("pinned");
    room.file("a.so", &second);
    let later = NOW_MS + 1000;
    pin(&plan, "alpha", PinAs::default(), later, |_| None).expect("pinned");
    // Once more is no further pin.
    pin(&plan, "alpha", PinAs::default(), later, |_| None).expect("pinned");
    for bytes in [&first, &second] {
        room.file("a.so", bytes);
        assert_eq!(refused_with(&room, &plan, "alpha"), None);
    }
    text["version"] = json!("1.2.5");
    room.file("a.so", &plugin_bytes(&text));
    let error = refused_with(&room, &plan, "alpha")
        .expect("of no pin")
        .to_string();
    assert!(
        error.contains("is not any file that was pinned") && error.contains("version 1.2.4"),
        "{error}"
    );
    room.file("a.so", &second);
    let only = PinAs {
        only: true,
        ..PinAs::default()
    };
    pin(&plan, "alpha", only, later, |_| None).expect("pinned alone");
    assert_eq!(plan.trust().pins().expect("pins").len(), 1);
    room.file("a.so", &first);
    assert_eq!(
        refused_with(&room, &plan, "alpha").map(|e| e.code()),
        Some(PIN_CHANGED)
    );
}

/// Each reads the file and writes it anew: at the same time, one would write it without what the other has added.
#[test]
fn writers_of_the_lock_file_at_the_same_time_lose_no_pin_and_no_verdict() {
    const WRITERS: usize = 8;
    let room = Room::new();
    let files: Vec<PathBuf> = (0..WRITERS)
        .map(|n| {
            room.file(
                &format!("{n}.so"),
                &plugin_bytes(&manifest_json(&format!("alpha{n}"))),
            )
        })
        .collect();
    let start = std::sync::Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for (n, file) in files.iter().enumerate() {
            let (room, start) = (&room, &start);
            scope.spawn(move || {
                let plan = plan(room, file, with_lock(room, None));
                start.wait();
                let name = format!("alpha{n}");
                let pinned = pin(&plan, &name, PinAs::default(), NOW_MS, |_| None).expect("pinned");
                let noted = plan
                    .trust()
                    .note_verdict(&pinned.pin.sha256, "passed")
                    .expect("noted");
                assert_eq!(noted, 1, "{name}");
            });
        }
    });
    let pins = with_lock(&room, None).pins().expect("pins");
    assert_eq!(pins.len(), WRITERS, "{pins:?}");
    assert!(pins.iter().all(|pin| pin.conformance.is_some()), "{pins:?}");
}

#[test]
fn a_pin_for_one_account_is_none_for_another() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let of = |account| plan(&room, &file, with_lock(&room, account));
    pin(
        &of(None),
        "alpha",
        PinAs {
            account: Some("ACC1"),
            ..PinAs::default()
        },
        NOW_MS,
        |_| None,
    )
    .expect("pinned");
    assert_eq!(refused_with(&room, &of(Some("ACC1")), "alpha"), None);
    for other in [Some("ACC2"), None] {
        let error = refused_with(&room, &of(other), "alpha").expect("another account");
        assert_eq!(error.code(), OTHER_ACCOUNT);
        assert!(error.to_string().contains("ACC1"), "{error}");
    }
    pin(&of(None), "alpha", PinAs::default(), NOW_MS, |_| None).expect("for all");
    assert_eq!(refused_with(&room, &of(Some("ACC2")), "alpha"), None);
    assert_eq!(of(None).trust().pins().expect("pins").len(), 2);
}

#[test]
fn a_lock_file_that_is_named_and_absent_or_damaged_lets_nothing_pass() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let lock = room.path("my.lock");
    let named = plan(
        &room,
        &file,
        TrustPolicy::new(Some(&lock), &room.path("data"), &[], false, None),
    );
    assert_eq!(
        refused_with(&room, &named, "alpha").map(|e| e.code()),
        Some(LOCK_FILE)
    );
    for damaged in ["no toml at all [", "version = 99\n", "[[plugin]]\nname = 3\n"] {
        std::fs::write(&lock, damaged).expect("lock");
        let error = refused_with(&room, &named, "alpha").expect("damaged");
        assert_eq!(error.code(), LOCK_FILE, "{damaged}");
        assert!(error.to_string().contains("my.lock"), "{error}");
        // And it is not overwritten by the next pin.
        assert!(pin(&named, "alpha", PinAs::default(), NOW_MS, |_| None).is_err());
    }
    std::fs::remove_file(&lock).expect("gone");
    pin(&named, "alpha", PinAs::default(), NOW_MS, |_| None).expect("pinned");
    assert_eq!(refused_with(&room, &named, "alpha"), None);
}

#[test]
fn a_verdict_comes_with_the_pin_and_is_replaced_by_a_later_one() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let plan = plan(&room, &file, with_lock(&room, None));
    let noted = |plan: &SearchPlan| plan.trust().pins().expect("pins")[0].conformance.clone();
    assert_eq!(plan.trust().note_verdict("aa", "passed").expect("no lock"), 0);
    assert!(
        !room.path("data/plugins.lock").exists(),
        "a verdict makes no lock file"
    );
    let pinned = pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| {
        Some("failed".to_owned())
    });
    let sha256 = pinned.expect("pinned").pin.sha256;
    assert_eq!(noted(&plan).as_deref(), Some("failed"));
    assert_eq!(plan.trust().note_verdict(&sha256, "passed").expect("noted"), 1);
    assert_eq!(noted(&plan).as_deref(), Some("passed"));
    assert_eq!(plan.trust().note_verdict("aa", "failed").expect("of nobody"), 0);
    assert_eq!(noted(&plan).as_deref(), Some("passed"));
}

#[test]
fn a_verdict_stays_with_its_content() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let plan = plan(&room, &file, with_lock(&room, None));
    let first = pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| None)
        .expect("pinned")
        .pin;
    let lock = room.path("data/plugins.lock");
    let text = std::fs::read_to_string(&lock).expect("lock");
    std::fs::write(&lock, format!("{text}conformance = \"passed\"\n")).expect("lock");
    pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| None).expect("the same again");
    assert_eq!(
        plan.trust().pins().expect("pins")[0].conformance.as_deref(),
        Some("passed")
    );
    let mut text = manifest_json("alpha");
    text["version"] = json!("9");
    room.file("a.so", &plugin_bytes(&text));
    let second = pin(&plan, "alpha", PinAs::default(), NOW_MS, |_| None)
        .expect("another content")
        .pin;
    assert_ne!(first.sha256, second.sha256);
    let pins = plan.trust().pins().expect("pins");
    let of = |sha256: &str| pins.iter().find(|pin| pin.sha256 == sha256).expect("a pin");
    assert_eq!(of(&second.sha256).conformance, None);
    assert_eq!(of(&first.sha256).conformance.as_deref(), Some("passed"));
}

struct Signer(minisign::KeyPair);

impl Signer {
    fn new() -> Self {
        Self(minisign::KeyPair::generate_unencrypted_keypair().expect("keys"))
    }

    fn key(&self) -> String {
        self.0.pk.to_base64()
    }

    fn sign(&self, file: &Path) {
        let bytes = std::fs::read(file).expect("bytes");
        let signature =
            minisign::sign(Some(&self.0.pk), &self.0.sk, bytes.as_slice(), None, None).expect("signed");
        std::fs::write(signature::path_of(file), signature.to_string()).expect("signature");
    }
}

fn signed_by(room: &Room, keys: &[String], required: bool) -> TrustPolicy {
    TrustPolicy::new(None, &room.path("data"), keys, required, None)
}

#[test]
fn a_signature_is_demanded_checked_and_its_key_must_be_trusted() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let (author, other) = (Signer::new(), Signer::new());
    let code = |keys: &[String], required: bool| {
        let plan = plan(&room, &file, signed_by(&room, keys, required));
        refused_with(&room, &plan, "alpha").map(|e| e.code())
    };
    let keys = [other.key(), author.key()];
    assert_eq!(code(&keys, true), Some(UNSIGNED));
    assert_eq!(code(&keys, false), None);
    author.sign(&file);
    assert_eq!(code(&keys, true), None);
    assert_eq!(code(&keys[..1], true), Some(UNKNOWN_KEY));
    assert_eq!(code(&[], true), Some(UNKNOWN_KEY));
    assert_eq!(code(&keys[..1], false), None);
    // A content that the trusted key has not signed is refused, demanded or not.
    let mut text = manifest_json("alpha");
    text["version"] = json!("6.6.6");
    room.file("a.so", &plugin_bytes(&text));
    assert_eq!(code(&keys, true), Some(BAD_SIGNATURE));
    assert_eq!(code(&keys, false), Some(BAD_SIGNATURE));
    for damaged in ["", "untrusted comment: x\nRWQ\n", "\0\0"] {
        std::fs::write(signature::path_of(&file), damaged).expect("signature");
        assert_eq!(code(&keys, true), Some(BAD_SIGNATURE), "{damaged:?}");
    }
}

#[test]
fn a_key_that_is_given_with_a_pin_is_trusted_from_then_on() {
    let room = Room::new();
    let file = room.file("a.so", &plugin_bytes(&manifest_json("alpha")));
    let (author, other) = (Signer::new(), Signer::new());
    author.sign(&file);
    let plan = plan(&room, &file, signed_by(&room, &[], true));
    let error = pin(&plan, "alpha", by_key(&other.key()), NOW_MS, |_| None).expect_err("another's key");
    assert_eq!(error.code(), UNKNOWN_KEY);
    assert_eq!(plan.trust().pins().expect("none"), []);
    let pinned = pin(&plan, "alpha", by_key(&author.key()), NOW_MS, |_| None).expect("pinned");
    assert_eq!(pinned.pin.signed_by, Some(author.key()));
    assert_eq!(refused_with(&room, &plan, "alpha"), None);
}

#[test]
fn an_installed_plugin_keeps_its_signature_through_every_version() {
    let room = Room::new();
    let author = Signer::new();
    let policy = signed_by(&room, &[author.key()], true);
    let files = ["1.0.0", "1.1.0"].map(|version| {
        let mut text = manifest_json("alpha");
        text["version"] = json!(version);
        let file = room.file(&format!("{version}.so"), &plugin_bytes(&text));
        author.sign(&file);
        file
    });
    let unsigned = room.file("unsigned.so", &plugin_bytes(&manifest_json("alpha")));
    let shelf = Shelf::new(&room.path("data"), NOW_MS);
    assert_eq!(
        shelf.install(&unsigned, &policy).expect_err("unsigned").code(),
        UNSIGNED
    );
    let plan = room.plan(&[], &[]).trusting(policy.clone());
    shelf.install(&files[0], &policy).expect("installed");
    assert_eq!(refused_with(&room, &plan, "alpha"), None);
    shelf.upgrade(&files[1], &policy).expect("upgraded");
    assert_eq!(refused_with(&room, &plan, "alpha"), None);
    shelf.rollback("alpha", None).expect("back");
    assert_eq!(refused_with(&room, &plan, "alpha"), None);
}

#[test]
fn a_file_swapped_between_check_and_load_is_not_loaded() {
    // Two real plugins, which are built before the tests run.
    let own = std::env::current_exe().expect("path");
    let built = own.parent().and_then(Path::parent).expect("target folder");
    let [a, b] = ["simulated", "miniqmt"].map(|name| built.join(so(name)));
    for file in [&a, &b] {
        assert!(
            file.exists(),
            "{} is missing: run the tests by `cargo all-tests`",
            file.display()
        );
    }
    let room = Room::new();
    let chosen = room.path("chosen.so");
    for swap_in_place in [true, false] {
        std::fs::copy(&a, &chosen).expect("copied");
        let plan = plan(&room, &chosen, with_lock(&room, None));
        let pinned = pin(&plan, "simulated", PinAs::default(), NOW_MS, |_| None)
            .expect("pinned")
            .pin;
        let prepared = loader::keep(&plan, Some("simulated"), &room.path("data")).expect("checked");
        if swap_in_place {
            std::fs::write(&chosen, std::fs::read(&b).expect("bytes")).expect("swapped");
        } else {
            std::fs::copy(&b, room.path("evil.so")).expect("copied");
            std::fs::rename(room.path("evil.so"), &chosen).expect("swapped");
        }
        let copy = prepared.copy().to_path_buf();
        let loaded = prepared.bring_in().expect("the copy that was checked is loaded");
        assert_eq!(loaded.statement().expect("a manifest").name, "simulated");
        assert_eq!(prepared.sha256(), pinned.sha256);
        assert_eq!(store::hash(&copy).expect("hash"), pinned.sha256);
        assert_ne!(store::hash(&chosen).expect("hash"), pinned.sha256);
        if cfg!(target_os = "linux") {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
            assert!(
                maps.contains(&*copy.to_string_lossy()),
                "the copy is what is mapped"
            );
            assert!(
                !maps.contains(&*chosen.to_string_lossy()),
                "the chosen file is not"
            );
        }
        // And the file that lies there now is refused at the next start.
        assert_eq!(
            refused_with(&room, &plan, "miniqmt").map(|e| e.code()),
            Some(UNPINNED)
        );
    }
}
