//! `install.sh` with a build of its own, of a library that takes no time: names, links, SONAME and `rmnet.pc`. `programs.rs` installs the
//! real library as cargo has built it for the tests.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder like `bindings/c`, with `install.sh` and a library of one function.
fn package(version: &str, crate_type: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fs::create_dir_all(path.join("src")).expect("a folder");
    fs::create_dir_all(path.join("include")).expect("a folder");
    fs::copy(Path::new(ROOT).join("install.sh"), path.join("install.sh")).expect("a copy");
    let write = |name: &str, text: String| fs::write(path.join(name), text).expect("a file");
    let package = format!("name = \"rmnet-c\"\nversion = \"{version}\"\n");
    write(
        "Cargo.toml",
        format!(
            "[package]\n{package}edition = \"2024\"\n\n[lib]\nname = \"rmnet_c\"\ncrate-type = [{crate_type}]\n\n[workspace]\n"
        ),
    );
    write("Cargo.lock", format!("version = 4\n\n[[package]]\n{package}"));
    write(
        "src/lib.rs",
        format!(
            "#[unsafe(no_mangle)]\npub extern \"C\" fn rmnet_version() -> *const std::ffi::c_char {{ c\"{version}\".as_ptr() }}\n"
        ),
    );
    write(
        "include/rmnet.h",
        format!("#define RMNET_VERSION \"{version}\"\nconst char *rmnet_version(void);\n"),
    );
    folder
}

fn install(package: &Path, prefix: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(package.join("install.sh")).arg(prefix).env("CARGO_TARGET_DIR", package.join("target"));
    // What changes the file names or the output of a build.
    for variable in ["CARGO_BUILD_TARGET", "DESTDIR"] {
        command.env_remove(variable);
    }
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn link(path: PathBuf) -> String {
    fs::read_link(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")).display().to_string()
}

fn pkg_config(prefix: &Path, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(args).arg("rmnet").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    let text = String::from_utf8(done(&mut command).stdout).expect("text");
    text.split_whitespace().map(String::from).collect()
}

/// A program that was linked finds the library by its SONAME, in its own version's name.
#[test]
fn a_program_finds_the_library_by_the_name_of_its_version() {
    for (version, name, soname) in [
        ("0.1.0", "librmnet.so.0.1.0", "librmnet.so.0.1"),
        ("0.0.7", "librmnet.so.0.0.7", "librmnet.so.0.0.7"),
        ("1.2.3-rc.1", "librmnet.so.1.2.3", "librmnet.so.1"),
        ("1.0.0", "librmnet.so.1.0.0", "librmnet.so.1"),
    ] {
        let package = package(version, "\"cdylib\", \"staticlib\", \"rlib\"");
        let prefix = package.path().join("installed");
        let lib = prefix.join("lib");
        // Twice: what cargo has built already is installed as well.
        for _ in 0..2 {
            done(&mut install(package.path(), &prefix));
        }
        assert!(lib.join(name).symlink_metadata().is_ok_and(|file| file.is_file()), "{version}");
        assert_eq!(link(lib.join("librmnet.so")), soname);
        if soname != name {
            assert_eq!(link(lib.join(soname)), name);
        }
        let source = prefix.join("program.c");
        fs::write(
            &source,
            "#include <rmnet.h>\n#include <stdio.h>\nint main(void) { return puts(rmnet_version()) < 0; }\n",
        )
        .expect("a file");
        let compile = |program: &Path, args: Vec<String>| {
            done(Command::new("cc").arg(&source).arg("-o").arg(program).args(args));
            let output = done(Command::new(program).env("LD_LIBRARY_PATH", &lib));
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), version);
        };
        compile(&prefix.join("program"), pkg_config(&prefix, &["--cflags", "--libs"]));
        // What `pkg-config --static` says, which rustc has said of this library, is all that a program needs.
        let mut args = pkg_config(&prefix, &["--cflags", "--libs", "--static"]);
        assert!(args.iter().any(|arg| arg == "-lc"), "{args:?}");
        args.retain(|arg| arg != "-lrmnet");
        args.insert(0, lib.join("librmnet.a").display().to_string());
        compile(&prefix.join("program_static"), args);
        // The program asks for the SONAME: without the link of that name it does not start.
        fs::remove_file(lib.join(soname)).expect("a file");
        let output =
            Command::new(prefix.join("program")).env("LD_LIBRARY_PATH", &lib).output().expect("it runs");
        assert!(String::from_utf8_lossy(&output.stderr).contains(soname), "{output:?}");
    }
}

/// Where rustc does not say which libraries the static library needs, as of a package without one, nothing is installed.
#[test]
fn nothing_is_installed_without_what_the_static_library_needs() {
    let package = package("0.1.0", "\"cdylib\"");
    let prefix = package.path().join("installed");
    let output = install(package.path(), &prefix).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("native-static-libs"), "{output:?}");
    assert!(!prefix.exists());
    // Nor where the build fails.
    fs::write(package.path().join("src/lib.rs"), "no Rust").expect("a file");
    assert!(!install(package.path(), &prefix).output().expect("it runs").status.success());
    assert!(!prefix.exists());
}

/// With `DESTDIR` files are written below it, and name the prefix; a prefix may have any characters; permissions are those of files that
/// all users read.
#[test]
fn a_package_is_written_below_destdir() {
    use std::os::unix::fs::PermissionsExt;
    let package = package("0.1.0", "\"cdylib\", \"staticlib\"");
    let staged = package.path().join("staged");
    let mut command = Command::new("bash");
    command
        .args(["-c", "umask 077; exec bash \"$0\" '/opt/a|b&c\\d'"])
        .arg(package.path().join("install.sh"));
    command.env("CARGO_TARGET_DIR", package.path().join("target")).env("DESTDIR", &staged);
    done(command.env_remove("CARGO_BUILD_TARGET"));
    let prefix = staged.join("opt/a|b&c\\d");
    let pc = fs::read_to_string(prefix.join("lib/pkgconfig/rmnet.pc")).expect("rmnet.pc");
    assert!(pc.starts_with("prefix=/opt/a|b&c\\d\n") && pc.contains("\nVersion: 0.1.0\n"), "{pc}");
    for (name, mode) in [
        ("lib/librmnet.so.0.1.0", 0o755),
        ("lib/librmnet.a", 0o644),
        ("lib/pkgconfig/rmnet.pc", 0o644),
        ("include/rmnet.h", 0o644),
    ] {
        let found = fs::metadata(prefix.join(name)).expect("a file").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}
