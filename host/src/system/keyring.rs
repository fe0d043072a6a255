//! The keyrings that a system has of its own: what they are called, whether they can be had, and how they are opened.

use std::sync::Arc;

use keyring_core::CredentialStore;

/// What people call the one of their session.
pub const NAME: &str = if cfg!(windows) {
    "the Windows Credential Manager"
} else if cfg!(target_os = "macos") {
    "the macOS Keychain"
} else {
    "the Secret Service"
};

/// Whether the kernel has one besides.
pub const IN_KERNEL: bool = cfg!(target_os = "linux");

/// Whether a session's keyring can be reached, be it in order or not. Without a bus the library would try to start one.
#[cfg(target_os = "linux")]
pub fn is_in_session() -> bool {
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|folder| std::path::Path::new(&folder).join("bus").exists())
}

/// Whether a session's keyring can be reached: what it needs is a part of the system.
#[cfg(not(target_os = "linux"))]
pub const fn is_in_session() -> bool {
    true
}

/// Opens the session's keyring, else says why it cannot be used.
pub fn of_session() -> Result<Arc<CredentialStore>, String> {
    if !is_in_session() {
        return Err("this session has no D-Bus, and so no Secret Service".to_owned());
    }
    #[cfg(target_os = "linux")]
    let store = dbus_secret_service_keyring_store::Store::new();
    #[cfg(windows)]
    let store = windows_native_keyring_store::Store::new();
    #[cfg(target_os = "macos")]
    let store = apple_native_keyring_store::keychain::Store::new();
    #[cfg(not(any(target_os = "linux", windows, target_os = "macos")))]
    let store: Result<Arc<CredentialStore>, _> = Err("this system has no keyring that qt-host knows");
    match store {
        Ok(store) => Ok(store),
        Err(e) => Err(e.to_string()),
    }
}

/// Opens the kernel's keyring, else says why it cannot be used.
pub fn of_kernel() -> Result<Arc<CredentialStore>, String> {
    #[cfg(target_os = "linux")]
    return match linux_keyutils_keyring_store::Store::new() {
        Ok(store) => Ok(store),
        Err(e) => Err(e.to_string()),
    };
    #[cfg(not(target_os = "linux"))]
    Err("the kernel of this system has no keyring".to_owned())
}
