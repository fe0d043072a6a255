//! Every code of a plugin's fault, and what is behind it. A code keeps its meaning for ever.
//!
//! P009, P012, P016, P018 and P019 are also given by qt-plugin-api once a library is open.

/// What a code means, for whoever asks with `qt-host plugins --explain CODE`.
#[derive(Debug)]
pub(crate) struct Code {
    /// Such as `QT-P012`.
    pub code: &'static str,
    /// What it says, in a few words that continue "the plugin …" or "the file …".
    pub title: &'static str,
    /// Why that is a fault.
    pub cause: &'static str,
    /// How it comes about without anybody's bad intent, the likeliest first.
    pub innocent: &'static [&'static str],
    /// What to do.
    pub mend: &'static str,
}

/// The explanation of a code in any case, with or without `QT-`; nothing for an unknown one.
pub(crate) fn explain(code: &str) -> Option<&'static Code> {
    let wanted = code.trim().to_ascii_uppercase();
    let bare = |code: &str| code.trim_start_matches("QT-").to_owned();
    CODES.iter().find(|known| bare(known.code) == bare(&wanted))
}

pub(super) const NOT_FOUND: &str = "QT-P001";
pub(super) const UNREADABLE: &str = "QT-P002";
pub(super) const NOT_A_FILE: &str = "QT-P003";
pub(super) const NOT_A_LIBRARY: &str = "QT-P004";
pub(super) const TRUNCATED: &str = "QT-P005";
pub(super) const FOREIGN: &str = "QT-P006";
pub(super) const TOO_LARGE: &str = "QT-P007";
pub(super) const NO_MANIFEST: &str = "QT-P008";
pub(super) const BAD_MANIFEST: &str = "QT-P009";
pub(super) const ABI_TOO_OLD: &str = "QT-P010";
pub(super) const ABI_TOO_NEW: &str = "QT-P011";
pub(super) const LAYOUT: &str = "QT-P012";
pub(super) const PANIC_ABORT: &str = "QT-P013";
pub(super) const AMBIGUOUS: &str = "QT-P014";
pub(super) const STORE: &str = "QT-P015";
pub(super) const STATEMENT: &str = "QT-P016";
pub(super) const NOT_LOADED: &str = "QT-P017";
pub(super) const ROOT: &str = "QT-P018";
pub(super) const ABI_LIBRARY: &str = "QT-P019";
pub(super) const UNPINNED: &str = "QT-P020";
pub(super) const PIN_CHANGED: &str = "QT-P021";
pub(super) const OTHER_ACCOUNT: &str = "QT-P022";
pub(super) const LOCK_FILE: &str = "QT-P023";
pub(super) const UNSIGNED: &str = "QT-P024";
pub(super) const BAD_SIGNATURE: &str = "QT-P025";
pub(super) const UNKNOWN_KEY: &str = "QT-P026";
pub(super) const MISSING_LIBRARY: &str = "QT-P030";
pub(super) const LIBRARY_TOO_OLD: &str = "QT-P031";
pub(super) const WRITABLE: &str = "QT-P032";
pub(super) const NOEXEC: &str = "QT-P033";
pub(super) const LEFT_BEHIND: &str = "QT-P034";
pub(super) const CONFIGURATION: &str = "QT-P035";
pub(super) const ALREADY_INSTALLED: &str = "QT-P040";
pub(super) const NOT_INSTALLED: &str = "QT-P041";
pub(super) const NO_SUCH_VERSION: &str = "QT-P042";

/// Every code, in order.
pub(crate) const CODES: &[Code] = &[
    Code {
        code: NOT_FOUND,
        title: "no plugin of that name was found",
        cause: "A plugin is picked by the name in its manifest, not by its file's name, from the folders that the \
                message lists in the order of the search.",
        innocent: &[
            "the name is misspelt in `broker`",
            "the file lies in another folder than those searched, or --data-dir names another data folder",
            "its file name does not end as a library's does here",
        ],
        mend: "Run `qt-host plugins list` to see every name; put the file into a searched folder, name it with \
               --plugin, or correct `broker`.",
    },
    Code {
        code: UNREADABLE,
        title: "the file or folder is missing or cannot be read",
        cause: "Nothing can be said of a file that the system does not give out.",
        innocent: &[
            "the path is misspelt, or relative to another folder than you think",
            "the file belongs to another user",
            "a link leads nowhere or to itself",
            "a network folder is not mounted",
        ],
        mend: "Correct the path, or allow this user to read it: chmod u+r FILE (on Windows: the file's \
               Properties, Security).",
    },
    Code {
        code: NOT_A_FILE,
        title: "a folder, pipe, socket or device, not a regular file",
        cause: "Only a regular file has a content that can be checked and copied before it is loaded.",
        innocent: &["--plugin names the folder and not the file in it"],
        mend: "Name the file itself with --plugin, or its folder with --plugin-dir.",
    },
    Code {
        code: NOT_A_LIBRARY,
        title: "empty, or no dynamic library at all",
        cause: "The first bytes of a file tell its kind, and these are not those of ELF, PE or Mach-O; or it is a \
                program or an object file.",
        innocent: &[
            "a download was answered by an error page",
            "a version control system keeps a pointer in place of the file",
            "the build made a program: the crate has no crate-type = [\"cdylib\"]",
        ],
        mend: "Copy or build it again, and name the file that the build made.",
    },
    Code {
        code: TRUNCATED,
        title: "a library that is cut short or damaged",
        cause: "The file's own tables speak of bytes that it does not have. Mapping it would end the process at the \
                first touch of the missing part.",
        innocent: &[
            "a download or a copy was broken off",
            "the disk was full",
            "the disk has a fault",
        ],
        mend: "Copy or build it again, and compare its length and sha256 with those of the origin.",
    },
    Code {
        code: FOREIGN,
        title: "built for another processor or system",
        cause: "Machine code runs on one processor and system only. The system's own loader would say \"no such file\".",
        innocent: &[
            "the file for another machine was downloaded",
            "it was built on another machine, or in a container of another architecture",
        ],
        mend: "Take or build the file for this machine; the message names both sides.",
    },
    Code {
        code: TOO_LARGE,
        title: "larger than any plugin",
        cause: "Files above the limit are not read at all, so that a listing never takes minutes.",
        innocent: &[
            "the path leads to a disk image or an archive",
            "debug information was left in: strip it",
        ],
        mend: "Name the plugin itself; strip it if it really is that large.",
    },
    Code {
        code: NO_MANIFEST,
        title: "a library, but no plugin of quantTrader",
        cause: "A plugin carries a section with its manifest, which `export_broker!` writes.",
        innocent: &[
            "it is one of the libraries that a plugin needs, lying in the same folder",
            "the crate does not call `export_broker!`",
            "a tool removed the section: strip with --strip-all keeps it, objcopy --only-section does not",
        ],
        mend: "Export the broker with `export_broker!` and build it again, or move other libraries elsewhere.",
    },
    Code {
        code: BAD_MANIFEST,
        title: "its manifest cannot be read",
        cause: "The section is there, and what it holds is no manifest that this program understands.",
        innocent: &[
            "the file is damaged",
            "it was written by hand or by a tool of another project",
        ],
        mend: "Build it again with a released qt-plugin-api.",
    },
    Code {
        code: ABI_TOO_OLD,
        title: "built for an older ABI than this program speaks",
        cause: "The ABI is the form in which plugin and program talk. Older forms are refused, as a misread order costs \
                money.",
        innocent: &["quantTrader was updated and the plugin was not"],
        mend: "Ask the plugin's author for a newer release, or build it again with the qt-plugin-api of this program.",
    },
    Code {
        code: ABI_TOO_NEW,
        title: "built for a newer ABI than this program speaks",
        cause: "The ABI is the form in which plugin and program talk, and this program is older than the plugin's form.",
        innocent: &["the plugin was updated and quantTrader was not"],
        mend: "Update quantTrader, or use an older release of the plugin.",
    },
    Code {
        code: LAYOUT,
        title: "laid out differently than its ABI demands",
        cause: "The types that cross the boundary have another form in memory than ABI number promises.",
        innocent: &[
            "it was built from a changed copy of qt-plugin-api",
            "it was built from an unreleased one",
        ],
        mend: "Build it again with a released qt-plugin-api.",
    },
    Code {
        code: PANIC_ABORT,
        title: "built so that a panic ends the whole process",
        cause: "With panic = \"abort\" a fault in the plugin would end the host in the middle of trading.",
        innocent: &["the release profile sets panic = \"abort\" for smaller files"],
        mend: "Set panic = \"unwind\" in the plugin's profile and build it again.",
    },
    Code {
        code: AMBIGUOUS,
        title: "two different files have one plugin name",
        cause: "Which of them would trade would depend on the order of the search, so that neither is taken.",
        innocent: &[
            "an older copy was left in another searched folder",
            "a build folder is searched too",
        ],
        mend: "Remove one of them, or name the one you mean with --plugin. Where both were named, by --plugin or in \"plugins\", leave one out.",
    },
    Code {
        code: STORE,
        title: "no private copy could be made",
        cause: "What runs is a private copy in the data folder, so that nobody can change it while it is mapped.",
        innocent: &[
            "the disk is full",
            "the data folder belongs to another user",
            "the file is being replaced right now",
        ],
        mend: "Free some space, make the data folder writable for this user, or choose another with --data-dir.",
    },
    Code {
        code: STATEMENT,
        title: "says something else once loaded than in its file",
        cause: "The manifest in the file and the loaded module must agree; what was shown to you must be what runs.",
        innocent: &[
            "the manifest section was edited",
            "two plugins were linked into one file",
        ],
        mend: "Build it again from clean sources; do not use it before you know why they differ.",
    },
    Code {
        code: NOT_LOADED,
        title: "the system refuses to load it",
        cause: "The system's loader gave the reason in the message; mostly a library that the plugin needs is missing.",
        innocent: &[
            "a needed library is not installed",
            "the data folder lies on a disk mounted with noexec",
        ],
        mend: "Run `qt-host plugins doctor` on it: it names what is missing.",
    },
    Code {
        code: ROOT,
        title: "its root module is missing or cannot be made",
        cause: "The symbol behind which a plugin offers its broker is absent, or making it failed.",
        innocent: &["a version script or the linker hid the symbol"],
        mend: "Export the broker with `export_broker!` and build it again.",
    },
    Code {
        code: ABI_LIBRARY,
        title: "built with another version of the ABI library",
        cause: "The library under qt-plugin-api has its own form, which must be the same on both sides.",
        innocent: &["the plugin's Cargo.lock holds another abi_stable"],
        mend: "Build it again with the qt-plugin-api of this program and a fresh Cargo.lock.",
    },
    Code {
        code: UNPINNED,
        title: "not pinned, and a lock file says that only pinned plugins may be loaded",
        cause: "Where there is a plugins.lock, only files whose sha256 stands in it are loaded.",
        innocent: &[
            "it is new and nobody has pinned it yet",
            "it was pinned in the lock file of another data folder",
        ],
        mend: "If you know where it comes from: qt-host plugins trust NAME.",
    },
    Code {
        code: PIN_CHANGED,
        title: "another file than the one that was pinned",
        cause: "Its sha256 is not the one in plugins.lock: its content has changed since somebody trusted it.",
        innocent: &[
            "the plugin was upgraded or built again",
            "`plugins rollback` brought an older version back",
            "the file was stripped or signed anew",
        ],
        mend: "If you know who changed it: qt-host plugins trust NAME. If not, do not load it: replace it with the file \
               that was pinned, from a source that you trust.",
    },
    Code {
        code: OTHER_ACCOUNT,
        title: "pinned for another account",
        cause: "The pin in plugins.lock is for one account, and this configuration trades for another.",
        innocent: &["the lock file is shared by several configurations"],
        mend: "If it may trade for this account too: qt-host plugins trust NAME --account ID, or without --account for all.",
    },
    Code {
        code: LOCK_FILE,
        title: "the lock file is missing, cannot be read or cannot be written",
        cause: "The configuration names a lock file or one is there, and without its content nothing can be trusted.",
        innocent: &[
            "it was edited by hand and is no TOML any more",
            "the path in `plugins.lock` is misspelt",
        ],
        mend: "Mend the line that the message names, or delete the file and pin again: qt-host plugins trust NAME.",
    },
    Code {
        code: UNSIGNED,
        title: "not signed, and the configuration demands a signature",
        cause: "`plugins.require_signature` is true, and beside the file there is no FILE.minisig.",
        innocent: &["the .minisig file was not copied along"],
        mend: "Put the author's .minisig file beside it, or take `require_signature` out.",
    },
    Code {
        code: BAD_SIGNATURE,
        title: "its signature does not fit",
        cause: "The signature names a key that you trust, and is not that key's signature of this content.",
        innocent: &[
            "file and signature are of different versions",
            "the file was stripped after it was signed",
            "the signature was cut short or made by a very old minisign (sign again without -l)",
        ],
        mend: "Get file and signature again from the author. Do not load it otherwise.",
    },
    Code {
        code: UNKNOWN_KEY,
        title: "signed by a key that is not trusted here",
        cause: "The signature's key is not among `plugins.trusted_keys`, nor among those of the lock file.",
        innocent: &["the author has a new key", "the key was not entered yet"],
        mend: "If you have the author's key from a source that you trust: qt-host plugins trust NAME --key KEY.",
    },
    Code {
        code: MISSING_LIBRARY,
        title: "a library that it needs is not here",
        cause: "The system's loader would look in the folders that the message names, and it is in none of them.",
        innocent: &[
            "the broker's runtime is not installed",
            "it is installed where the loader does not look",
            "on Linux, ldconfig has not been run since",
            "on Windows, Microsoft's Visual C++ runtime is not installed",
        ],
        mend: "Linux: install the package that has it and run ldconfig, or name its folder in LD_LIBRARY_PATH. Windows: put \
               it into the plugin's folder, name its folder in PATH, or install the runtime that `plugins doctor` names.",
    },
    Code {
        code: LIBRARY_TOO_OLD,
        title: "needs a newer system library than this machine has",
        cause: "It was linked against a newer version, mostly of glibc, whose functions are absent here.",
        innocent: &["it was built on a newer distribution"],
        mend: "Build it on this machine or on one as old, or update this system; the message has both numbers.",
    },
    Code {
        code: WRITABLE,
        title: "everybody on this machine may change it",
        cause: "Whoever can write to the file or its folder decides what trades with your account.",
        innocent: &["it was unpacked with a umask of 0", "the folder is a shared one"],
        mend: "chmod o-w on the file and its folder.",
    },
    Code {
        code: NOEXEC,
        title: "the data folder lies on a disk from which nothing may run",
        cause: "What runs is a private copy in the data folder, and its disk is mounted with noexec.",
        innocent: &["/tmp or /home is mounted so for safety"],
        mend: "Choose a data folder on another disk with --data-dir or `data_dir`.",
    },
    Code {
        code: LEFT_BEHIND,
        title: "needs a library that is not taken along",
        cause: "What runs is a private copy in the data folder. Libraries in the plugin's own folder and below it that \
                it brings in by $ORIGIN are copied with it; those outside of that folder are not, and `plugins install` \
                takes one file alone.",
        innocent: &["the broker's library is shipped in a folder beside the plugin's"],
        mend: "Put that library into the plugin's folder, install it where the system's loader looks, or name its \
               folder in LD_LIBRARY_PATH (on Windows: PATH). A plugin that has such libraries is named with --plugin and \
               not installed.",
    },
    Code {
        code: CONFIGURATION,
        title: "its block in the configuration does not fit",
        cause: "The plugin's manifest says which options it takes, and the block has others or wrong values.",
        innocent: &[
            "an option is misspelt",
            "the block was written for another version of the plugin",
        ],
        mend: "Run `qt-host plugins inspect NAME`: it prints every option.",
    },
    Code {
        code: ALREADY_INSTALLED,
        title: "a plugin of this name is installed already",
        cause: "`install` never replaces anything; a plugin's name is unique in the data folder.",
        innocent: &[
            "it is an upgrade",
            "somebody put a file of that name there by hand",
        ],
        mend: "qt-host plugins upgrade FILE, or qt-host plugins remove NAME first.",
    },
    Code {
        code: NOT_INSTALLED,
        title: "no plugin of this name is installed in the data folder",
        cause: "`upgrade`, `remove` and `rollback` act only on what `install` has put into the data folder.",
        innocent: &[
            "the plugin lies in another folder of the search",
            "--data-dir names another data folder",
        ],
        mend: "Run `qt-host plugins list` to see where it lies; qt-host plugins install FILE installs it.",
    },
    Code {
        code: NO_SUCH_VERSION,
        title: "there is no such older version",
        cause: "`rollback` goes back to a version that is kept in the data folder.",
        innocent: &[
            "the current version is the first one",
            "the older ones were purged",
        ],
        mend: "Run `qt-host plugins history NAME`; install the file of the older version if it is not there.",
    },
];
