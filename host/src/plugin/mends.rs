//! What to do about a library that a plugin does not get, in the words of the system that the plugin is for.

use std::path::Path;

use super::Anatomy;

/// Where Microsoft's own installer of its C and C++ runtime is for a processor.
fn runtime_installer(anatomy: &Anatomy) -> String {
    let processor = match (anatomy.processor.as_str(), anatomy.bits) {
        ("aarch64", _) => "arm64",
        (_, 32) => "x86",
        _ => "x64",
    };
    format!("https://aka.ms/vs/17/release/vc_redist.{processor}.exe")
}

/// The year of the Visual C++ whose runtime a library of the older numbering belongs to.
fn older_runtime(stem: &str) -> Option<&'static str> {
    let number = ["msvcr", "msvcp", "mfc", "vcomp", "vccorlib"]
        .iter()
        .find_map(|kind| stem.strip_prefix(kind))?;
    [
        ("120", "2013"),
        ("110", "2012"),
        ("100", "2010"),
        ("90", "2008"),
        ("80", "2005"),
    ]
    .into_iter()
    .find(|(version, _)| number == *version || number.strip_suffix('u') == Some(version))
    .map(|(_, year)| year)
}

/// Libraries that only whoever has Visual Studio has: those of a build for debugging.
fn is_for_debugging(stem: &str) -> bool {
    let runtime = ["vcruntime", "msvcp", "msvcr", "concrt", "ucrtbase", "mfc"];
    runtime.iter().any(|kind| stem.starts_with(kind)) && stem.ends_with('d')
}

/// What to do about a library that is nowhere.
pub(super) fn of_missing(library: &str, anatomy: &Anatomy) -> String {
    match anatomy.format {
        "PE" => of_missing_dll(library, anatomy),
        "Mach-O" => format!(
            "install what has {library}, or put it into the plugin's folder and let the plugin name it by @loader_path"
        ),
        _ => format!(
            "install the package that has {library} and run ldconfig, or name its folder in LD_LIBRARY_PATH"
        ),
    }
}

fn of_missing_dll(library: &str, anatomy: &Anatomy) -> String {
    let lower = library.to_ascii_lowercase();
    let stem = lower.strip_suffix(".dll").unwrap_or(&lower);
    if is_for_debugging(stem) {
        return "take or make a release build of the plugin: this is a build for debugging, whose runtime Microsoft gives \
                to developers alone"
            .to_owned();
    }
    let newer = [
        "vcruntime14",
        "msvcp14",
        "concrt14",
        "vcomp14",
        "vccorlib14",
        "mfc14",
        "vcamp14",
    ];
    if newer.iter().any(|kind| stem.starts_with(kind)) {
        return format!(
            "install Microsoft's Visual C++ runtime (2015 to 2022): {}",
            runtime_installer(anatomy)
        );
    }
    if let Some(year) = older_runtime(stem) {
        return format!(
            "install Microsoft's \"Visual C++ Redistributable Packages for Visual Studio {year}\" ({} bits)",
            anatomy.bits
        );
    }
    if stem == "ucrtbase" {
        return "update Windows: it is part of Windows 10 and of everything newer".to_owned();
    }
    if ["libgcc_s_", "libstdc++", "libwinpthread"]
        .iter()
        .any(|kind| stem.starts_with(kind))
    {
        return format!(
            "put {library} into the plugin's folder, out of the folder bin of the MinGW that built the plugin, or have the \
             plugin built with -static"
        );
    }
    if let Some(version) = stem
        .strip_prefix("python3")
        .filter(|rest| rest.parse::<u8>().is_ok())
    {
        return format!(
            "install Python 3.{version} ({} bits) for all users with \"Add Python to PATH\" ticked, and start qt-host anew",
            anatomy.bits
        );
    }
    format!(
        "put {library} into the plugin's folder, or install the program that brings it and add its folder to PATH (Windows \
         Settings, \"environment variables\")"
    )
}

/// What to do about a library that lies where the private copy of a plugin does not reach.
pub(super) fn of_left_behind(folder: &Path, anatomy: &Anatomy) -> String {
    let folder = folder.display();
    match anatomy.format {
        "PE" => {
            format!("move it into the plugin's folder, or add its own to PATH: $env:PATH += \";{folder}\"")
        }
        _ => format!(
            "move it into the plugin's folder, or name its own in LD_LIBRARY_PATH: LD_LIBRARY_PATH={folder} qt-host …"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anatomy(format: &'static str, bits: u8, processor: &str) -> Anatomy {
        Anatomy {
            format,
            bits,
            processor: processor.to_owned(),
            ..Anatomy::default()
        }
    }

    #[test]
    fn a_missing_dll_has_the_mend_of_its_kind() {
        let cases = [
            ("VCRUNTIME140.dll", "vc_redist.x64.exe"),
            ("vcruntime140_1.dll", "vc_redist.x64.exe"),
            ("MSVCP140_ATOMIC_WAIT.dll", "vc_redist.x64.exe"),
            ("mfc140u.dll", "vc_redist.x64.exe"),
            ("MSVCR120.dll", "Visual Studio 2013\" (64 bits)"),
            ("mfc100u.dll", "Visual Studio 2010\""),
            ("VCRUNTIME140D.dll", "release build"),
            ("ucrtbased.dll", "release build"),
            ("ucrtbase.dll", "update Windows"),
            ("libgcc_s_seh-1.dll", "-static"),
            ("libstdc++-6.dll", "-static"),
            ("python311.dll", "Python 3.11 (64 bits)"),
            ("python3.dll", "add its folder to PATH"),
            ("broker_sdk.dll", "put broker_sdk.dll into the plugin's folder"),
            // Its number is nobody's year.
            ("msvcr999.dll", "add its folder to PATH"),
        ];
        for (library, said) in cases {
            let mend = of_missing(library, &anatomy("PE", 64, "x86_64"));
            assert!(mend.contains(said), "{library}: {mend}");
            for foreign in ["ldconfig", "LD_LIBRARY_PATH", "package that has"] {
                assert!(!mend.contains(foreign), "{library}: {mend}");
            }
        }
        let arm = of_missing("VCRUNTIME140.dll", &anatomy("PE", 64, "aarch64"));
        assert!(arm.contains("vc_redist.arm64.exe"), "{arm}");
    }

    #[test]
    fn every_system_is_spoken_to_in_its_own_words() {
        let elf = anatomy("ELF", 64, "x86_64");
        assert!(of_missing("libx.so.1", &elf).contains("ldconfig"));
        let folder = Path::new("/opt/sdk");
        assert!(of_left_behind(folder, &elf).contains("LD_LIBRARY_PATH=/opt/sdk"));
        let pe = anatomy("PE", 64, "x86_64");
        assert!(of_left_behind(folder, &pe).contains("$env:PATH += \";/opt/sdk\""));
        assert!(of_missing("libx.dylib", &anatomy("Mach-O", 64, "aarch64")).contains("@loader_path"));
    }
}
