//! Libraries written byte by byte, as small as the format allows.

/// Number of this machine's processor in an ELF header.
fn own_machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        other => panic!("the tests know no number for {other}"),
    }
}

/// A section to be written.
pub(super) struct Section {
    name: &'static str,
    kind: u32,
    content: Vec<u8>,
    /// Index of the section with the names, counted from 1 in the order of the list.
    link: u32,
    entry: u64,
}

impl Section {
    pub(super) fn plain(name: &'static str, content: &[u8]) -> Self {
        Self {
            name,
            kind: 1,
            content: content.to_vec(),
            link: 0,
            entry: 0,
        }
    }

    fn table(name: &'static str, kind: u32, content: Vec<u8>, entry: u64) -> Self {
        Self {
            name,
            kind,
            content,
            // The table of names comes first.
            link: 1,
            entry,
        }
    }
}

/// A shared object of sections, whose table lies at its end as linkers place it.
pub(super) fn elf(sections: &[Section]) -> Vec<u8> {
    let mut names = vec![0];
    let mut contents = Vec::new();
    let start = 64 + 56_u64;
    let mut headers = Vec::new();
    for section in sections {
        let name_at = names.len() as u32;
        names.extend(section.name.as_bytes());
        names.push(0);
        // Tables are read as numbers of eight bytes.
        contents.resize(contents.len().next_multiple_of(8), 0);
        let at = start + contents.len() as u64;
        contents.extend(&section.content);
        headers.push((
            name_at,
            section.kind,
            at,
            section.content.len() as u64,
            section.link,
            section.entry,
        ));
    }
    let own_name = names.len() as u32;
    names.extend(b".shstrtab\0");
    let names_at = start + contents.len() as u64;
    headers.push((own_name, 3, names_at, names.len() as u64, 0, 0));
    let table_at = (names_at + names.len() as u64).next_multiple_of(8);
    let count = headers.len() as u16 + 1;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([3_u16, own_machine()].map(u16::to_le_bytes).concat());
    out.extend(1_u32.to_le_bytes());
    out.extend([0, 64, table_at].map(u64::to_le_bytes).concat());
    out.extend(0_u32.to_le_bytes());
    out.extend(
        [64_u16, 56, 1, 64, count, count - 1]
            .map(u16::to_le_bytes)
            .concat(),
    );
    // One segment to be mapped, which is the whole file.
    let end = table_at + u64::from(count) * 64;
    out.extend([1_u32, 4].map(u32::to_le_bytes).concat());
    out.extend([0, 0, 0, end, end, 4096_u64].map(u64::to_le_bytes).concat());
    out.extend(contents);
    out.extend(names);
    out.resize(usize::try_from(table_at).expect("small") + 64, 0);
    for (name_at, kind, at, size, link, entry) in headers {
        out.extend([name_at, kind].map(u32::to_le_bytes).concat());
        out.extend([0, 0, at, size].map(u64::to_le_bytes).concat());
        out.extend([link, 0].map(u32::to_le_bytes).concat());
        out.extend([1_u64, entry].map(u64::to_le_bytes).concat());
    }
    out
}

/// What a crafted library needs and has.
#[derive(Default)]
pub(super) struct Wants<'a> {
    /// DT_NEEDED
    pub(super) needed: &'a [&'a str],
    /// DT_RUNPATH
    pub(super) runpath: Option<&'a str>,
    /// DT_RPATH
    pub(super) rpath: Option<&'a str>,
    /// Library and version, as `.gnu.version_r` has them.
    pub(super) versions: &'a [(&'a str, &'a str)],
    /// Versions of its own, as `.gnu.version_d` has them.
    pub(super) own: &'a [&'a str],
    /// Exported functions.
    pub(super) exports: &'a [&'a str],
}

/// A library, and with a manifest's section a plugin, that needs and has things.
pub(super) fn library(manifest: Option<&[u8]>, wants: &Wants<'_>) -> Vec<u8> {
    let mut names = vec![0_u8];
    let mut name = |text: &str| {
        let at = names.len() as u32;
        names.extend(text.as_bytes());
        names.push(0);
        at
    };
    let mut dynamic = Vec::new();
    let mut entry =
        |tag: u64, value: u32| dynamic.extend([tag, u64::from(value)].map(u64::to_le_bytes).concat());
    for library in wants.needed {
        entry(1, name(library));
    }
    for (tag, path) in [(15, wants.rpath), (29, wants.runpath)] {
        if let Some(path) = path {
            entry(tag, name(path));
        }
    }
    entry(0, 0);
    let mut needs = Vec::new();
    for (index, (library, version)) in wants.versions.iter().enumerate() {
        let next = if index + 1 == wants.versions.len() {
            0
        } else {
            32_u32
        };
        needs.extend([1_u16, 1].map(u16::to_le_bytes).concat());
        needs.extend([name(library), 16, next].map(u32::to_le_bytes).concat());
        needs.extend(0_u32.to_le_bytes());
        needs.extend([0_u16, 2].map(u16::to_le_bytes).concat());
        needs.extend([name(version), 0].map(u32::to_le_bytes).concat());
    }
    let mut own = Vec::new();
    for (index, version) in wants.own.iter().enumerate() {
        let next = if index + 1 == wants.own.len() { 0 } else { 28_u32 };
        own.extend([1_u16, 0, 1, 1].map(u16::to_le_bytes).concat());
        own.extend([0, 20, next].map(u32::to_le_bytes).concat());
        own.extend([name(version), 0].map(u32::to_le_bytes).concat());
    }
    let mut symbols = vec![0; 24];
    for export in wants.exports {
        symbols.extend(name(export).to_le_bytes());
        // A global function in the first section.
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend([64_u64, 8].map(u64::to_le_bytes).concat());
    }
    let mut sections = vec![
        Section {
            name: ".dynstr",
            kind: 3,
            content: names,
            link: 0,
            entry: 0,
        },
        Section::table(".dynamic", 6, dynamic, 16),
        Section::table(".dynsym", 11, symbols, 24),
    ];
    if !needs.is_empty() {
        sections.push(Section::table(".gnu.version_r", 0x6fff_fffe, needs, 0));
    }
    if !own.is_empty() {
        sections.push(Section::table(".gnu.version_d", 0x6fff_fffd, own, 0));
    }
    if let Some(manifest) = manifest {
        sections.push(Section::plain(".qtplug", manifest));
    }
    elf(&sections)
}

/// A DLL for x86-64 with one section, as small as the format allows.
pub(super) fn dll(name: &str, content: &[u8]) -> Vec<u8> {
    dll_that_needs(name, content, &[])
}

/// A DLL for x86-64 with one section, and with the names of others that it brings in.
pub(super) fn dll_that_needs(name: &str, content: &[u8], needed: &[&str]) -> Vec<u8> {
    const IMPORTS_AT: u32 = 0x0010_0000;
    const DESCRIPTOR: usize = 20;
    // A descriptor for each, an empty one, and behind them the names.
    let mut imports = vec![0; DESCRIPTOR * (needed.len() + 1)];
    for (index, library) in needed.iter().enumerate() {
        let at = IMPORTS_AT + imports.len() as u32;
        let of_name = DESCRIPTOR * index + 12;
        imports[of_name..of_name + 4].copy_from_slice(&at.to_le_bytes());
        imports.extend(library.as_bytes());
        imports.push(0);
    }
    let mut sections = vec![(name, 0x1000, content)];
    if !needed.is_empty() {
        sections.push((".idata", IMPORTS_AT, &imports[..]));
    }
    let mut out = b"MZ".to_vec();
    out.resize(60, 0);
    out.extend(64_u32.to_le_bytes());
    out.extend(b"PE\0\0");
    // x86-64, so many sections, 240 bytes of optional header, a library.
    out.extend([0x8664_u16, sections.len() as u16].map(u16::to_le_bytes).concat());
    out.extend([0_u32; 3].map(u32::to_le_bytes).concat());
    out.extend([240_u16, 0x2022].map(u16::to_le_bytes).concat());
    let optional = out.len();
    out.extend(0x20b_u16.to_le_bytes());
    out.resize(optional + 108, 0);
    out.extend(16_u32.to_le_bytes());
    // The first of the sixteen tables holds what it offers, the second what it brings in.
    out.extend([0_u32; 2].map(u32::to_le_bytes).concat());
    if !needed.is_empty() {
        out.extend([IMPORTS_AT, imports.len() as u32].map(u32::to_le_bytes).concat());
    }
    out.resize(optional + 240, 0);
    let mut content_at = 512;
    for (name, address, content) in &sections {
        let mut short = name.as_bytes().to_vec();
        short.resize(8, 0);
        out.extend(short);
        let length = content.len() as u32;
        out.extend(
            [length, *address, length, content_at]
                .map(u32::to_le_bytes)
                .concat(),
        );
        out.extend([0_u32, 0, 0, 0x4000_0040].map(u32::to_le_bytes).concat());
        content_at += length;
    }
    out.resize(512, 0);
    for (_, _, content) in sections {
        out.extend(content);
    }
    out
}

/// A library for macOS on arm64 with one section in `__DATA`.
pub(super) fn dylib(name: &str, content: &[u8]) -> Vec<u8> {
    let fixed = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    };
    let command_size = 72 + 80_u32;
    let content_at = 32 + command_size;
    let length = content.len() as u64;
    let mut out = Vec::new();
    // Magic, arm64, a library, one load command.
    out.extend(
        [0xfeed_facf_u32, 0x0100_000c, 0, 6, 1, command_size, 0, 0]
            .map(u32::to_le_bytes)
            .concat(),
    );
    out.extend([0x19, command_size].map(u32::to_le_bytes).concat());
    out.extend(fixed("__DATA"));
    out.extend(
        [0, length, u64::from(content_at), length]
            .map(u64::to_le_bytes)
            .concat(),
    );
    out.extend([3, 3, 1, 0].map(u32::to_le_bytes).concat());
    out.extend(fixed(name));
    out.extend(fixed("__DATA"));
    out.extend([0, length].map(u64::to_le_bytes).concat());
    out.extend([content_at, 0, 0, 0, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    out.extend(content);
    out
}
