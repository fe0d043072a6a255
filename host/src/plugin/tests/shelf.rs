//! Installing, upgrading, going back, removing: atomic, and nothing is lost.

use super::*;

const NOW_MS: i64 = 1_764_000_000_000;

fn version(name: &str, version: &str) -> Vec<u8> {
    let mut text = manifest_json(name);
    text["version"] = json!(version);
    plugin_bytes(&text)
}

fn shelf(room: &Room) -> Shelf {
    Shelf::new(&room.path("data"), NOW_MS)
}

/// The version that the search finds.
fn current(room: &Room) -> Option<String> {
    let found = list(&room.plan(&[], &[]), false);
    assert!(found.len() <= 1, "{found:?}");
    found
        .into_iter()
        .next()?
        .manifest
        .map(|manifest| manifest.version)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn versions_are_installed_upgraded_rolled_back_removed_and_brought_back() {
    let room = Room::new();
    let policy = TrustPolicy::default();
    let [a, b, c] = ["1.0.0", "1.1.0", "2.0.0"].map(|v| room.file(&format!("{v}.so"), &version("alpha", v)));
    let shelf = shelf(&room);
    let done = shelf.install(&a, &policy).expect("installed");
    assert_eq!((done.from, done.to.as_deref()), (None, Some("1.0.0")));
    assert_eq!(current(&room).as_deref(), Some("1.0.0"));
    assert!(shelf.install(&a, &policy).expect("the same").unchanged);
    assert_eq!(
        shelf.install(&b, &policy).expect_err("another version").code(),
        ALREADY_INSTALLED
    );
    for (file, from, to) in [(&b, "1.0.0", "1.1.0"), (&c, "1.1.0", "2.0.0")] {
        let done = shelf.upgrade(file, &policy).expect("upgraded");
        assert_eq!((done.from.as_deref(), done.to.as_deref()), (Some(from), Some(to)));
        assert_eq!(current(&room).as_deref(), Some(to));
    }
    for to in ["1.1.0", "1.0.0"] {
        shelf.rollback("Alpha", None).expect("back");
        assert_eq!(current(&room).as_deref(), Some(to));
    }
    assert_eq!(
        shelf.rollback("alpha", None).expect_err("the first").code(),
        NO_SUCH_VERSION
    );
    shelf.rollback("alpha", Some("2.0.0")).expect("forth");
    assert_eq!(current(&room).as_deref(), Some("2.0.0"));
    let kept: Vec<_> = shelf
        .history("alpha")
        .expect("history")
        .into_iter()
        .map(|kept| (kept.version, kept.current, kept.available))
        .collect();
    let expected = [("2.0.0", true), ("1.1.0", false), ("1.0.0", false)];
    assert_eq!(
        kept,
        expected.map(|(version, current)| (version.to_owned(), current, true))
    );
    shelf.rollback("alpha", Some("1.1.0")).expect("by version");
    shelf.remove("alpha", false).expect("removed");
    assert_eq!(current(&room), None);
    // What was removed comes back, which was not the newest.
    shelf.rollback("alpha", None).expect("brought back");
    assert_eq!(current(&room).as_deref(), Some("1.1.0"));
    shelf.remove("alpha", true).expect("purged");
    assert_eq!(
        shelf.rollback("alpha", None).expect_err("purged").code(),
        NOT_INSTALLED
    );
    assert_eq!(
        names(&room.path("data/plugin-store")),
        ["installed.lock", "installed.toml"]
    );
    assert_eq!(names(&room.path("data/plugins")), [""; 0]);
}

#[test]
fn what_cannot_be_used_is_never_installed() {
    let room = Room::new();
    let policy = TrustPolicy::default();
    let cut = version("alpha", "1.0.0");
    let cut = room.file("cut.so", &cut[..cut.len() / 2]);
    let error = shelf(&room).install(&cut, &policy).expect_err("cut");
    assert_eq!(error.code(), TRUNCATED);
    assert!(error.to_string().contains("cut.so"), "{error}");
    assert_eq!(
        shelf(&room)
            .upgrade(&room.file("a.so", &version("alpha", "1.0.0")), &policy)
            .expect_err("none there")
            .code(),
        NOT_INSTALLED
    );
    assert_eq!(current(&room), None);
    for code in [
        shelf(&room).remove("alpha", false).expect_err("none").code(),
        shelf(&room).rollback("alpha", None).expect_err("none").code(),
        shelf(&room).history("alpha").expect_err("none").code(),
    ] {
        assert_eq!(code, NOT_INSTALLED);
    }
}

#[test]
fn a_file_that_was_put_there_by_hand_is_kept_by_the_first_upgrade() {
    let room = Room::new();
    let by_hand = room.file(
        &format!("data/plugins/{}", so("mine")),
        &version("alpha", "0.9.0"),
    );
    let new = room.file("new.so", &version("alpha", "1.0.0"));
    let done = shelf(&room)
        .upgrade(&new, &TrustPolicy::default())
        .expect("upgraded");
    assert_eq!(done.path, by_hand);
    assert_eq!(current(&room).as_deref(), Some("1.0.0"));
    shelf(&room).rollback("alpha", None).expect("back");
    assert_eq!(current(&room).as_deref(), Some("0.9.0"));
}

#[test]
fn what_is_in_the_way_is_not_overwritten() {
    let room = Room::new();
    let other = room.file(&format!("data/plugins/{}", so("alpha")), b"something of somebody");
    let file = room.file("a.so", &version("alpha", "1.0.0"));
    let error = shelf(&room)
        .install(&file, &TrustPolicy::default())
        .expect_err("in the way");
    assert_eq!(error.code(), ALREADY_INSTALLED);
    assert_eq!(std::fs::read(other).expect("bytes"), b"something of somebody");
}

#[test]
fn a_kept_version_that_was_changed_is_not_brought_back() {
    let room = Room::new();
    let policy = TrustPolicy::default();
    let [a, b] = ["1.0.0", "1.1.0"].map(|v| room.file(&format!("{v}.so"), &version("alpha", v)));
    let first = shelf(&room).install(&a, &policy).expect("installed").sha256;
    shelf(&room).upgrade(&b, &policy).expect("upgraded");
    let kept = room.path("data/plugin-store").join(first).join(so("alpha"));
    std::fs::write(&kept, version("alpha", "6.6.6")).expect("changed");
    assert_eq!(
        shelf(&room).rollback("alpha", None).expect_err("changed").code(),
        NO_SUCH_VERSION
    );
    assert_eq!(current(&room).as_deref(), Some("1.1.0"));
}

#[test]
fn two_changes_at_a_time_are_not_possible() {
    let room = Room::new();
    let file = room.file("a.so", &version("alpha", "1.0.0"));
    let shelf = shelf(&room);
    shelf.install(&file, &TrustPolicy::default()).expect("installed");
    let lock = std::fs::File::options()
        .write(true)
        .open(room.path("data/plugin-store/installed.lock"))
        .expect("lock");
    lock.lock().expect("held");
    let error = shelf.remove("alpha", false).expect_err("held by another");
    assert_eq!(error.code(), STORE);
    lock.unlock().expect("let go");
    shelf.remove("alpha", false).expect("removed");
}
