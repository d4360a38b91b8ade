//! Namespaces, in which a test may have any address there is, and mount what it likes.

use std::net::IpAddr;
use std::process::Command;

/// Set for a test that was started again in a namespace of its own.
const INSIDE: &str = "PORTCULLIS_TEST_NAMESPACE";

/// Where a test goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Here: these addresses are on its loopback, and nothing else is near.
    Inside,
    /// Not here: it was run inside, and passed.
    Passed,
    /// Nowhere: this system does not let us make namespaces.
    Denied,
}

/// Runs the test called `name` (with its modules) again in namespaces of its own, of the network and of mounts, with `addresses` on its loopback.
///
/// # Panics
/// When the test fails there.
pub fn enter(name: &str, addresses: &[IpAddr]) -> Namespace {
    if std::env::var_os(INSIDE).is_some() {
        return Namespace::Inside;
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount", "sh", "-c", script, "sh"]);
        command
    };
    let possible = unshare("ip link set lo up").output().is_ok_and(|output| output.status.success());
    if !possible {
        return Namespace::Denied;
    }
    let add = addresses.iter().map(|address| format!("ip addr add {address} dev lo && "));
    let script = format!("ip link set lo up && {}exec \"$@\"", add.collect::<String>());
    let output = unshare(&script)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Namespace::Passed
}
