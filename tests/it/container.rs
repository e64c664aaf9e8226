//! SoftHSM in a container, hardened as docs/operations.md says: the image of `softhsm-config`, an HSM host in it that listens in a volume,
//! and a client outside. Pausing it is a hung HSM, killing it a power failure, starting it again a failover with new handles.

mod engine;
mod host;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tillward_hsm::{DerivationId, Fault, Hsm, HsmConfig, HsmError, Ikid, KeyBlock, Outage, Refusal};

use crate::software::Phone;
use crate::token::{ACME, Module, Token};
pub(crate) use engine::Engine;
pub(crate) use host::ContainerHsm;

const DEADLINE: Duration = Duration::from_secs(1);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(500);

/// What only the keys of this token can do: a MAC, and a phone's key block that opens.
struct Proof {
    phone: Phone,
    block: KeyBlock,
    mac: [u8; 32],
}

impl Proof {
    async fn take(hsm: &Hsm) -> Self {
        let phone = Phone::new(Ikid::new(ACME.1, DerivationId(7)));
        let block = crate::softhsm::hsm::enrol(hsm, &phone).await;
        Self { phone, block, mac: hsm.activation_mac(b"code").await.expect("a MAC") }
    }

    async fn holds(&self, hsm: &Hsm) {
        let digest = [7; 32];
        hsm.verify_device_mac(&self.block, self.phone.ikid, &digest, &self.phone.mac(&digest)).await.expect("the key block opens");
        let wrong = hsm.verify_device_mac(&self.block, self.phone.ikid, &digest, &[0; 16]).await;
        assert_eq!(wrong, Err(HsmError::Refused(Refusal::MacMismatch)));
        assert_eq!(hsm.activation_mac(b"code").await.expect("a MAC"), self.mac);
        hsm.canary().await.expect("sings");
    }
}

/// A token with keys, and a host on it in a container; None where there is no engine.
async fn host(arguments: &[&str]) -> Option<(Token, ContainerHsm)> {
    let engine = Engine::find().await?;
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    let host = ContainerHsm::start(engine, &token.path(""), "tillward-test", arguments).await;
    Some((token, host))
}

/// Asks until it is answered, and tells how long that took.
async fn recovers(hsm: &Hsm, patience: Duration) -> Duration {
    let begin = Instant::now();
    loop {
        match hsm.canary().await {
            Ok(()) => return begin.elapsed(),
            Err(error) => assert!(begin.elapsed() < patience && error.fault() == Fault::Hsm, "after {:?}: {error}", begin.elapsed()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_in_a_container_makes_the_token_that_the_next_one_serves() {
    let Some(engine) = Engine::find().await else { return };
    let token = Token::empty(Module::SoftHsm).expect("SoftHSM is installed");
    let ceremony = ContainerHsm::start(engine, &token.path(""), "tillward-test", &["--ceremony"]).await;
    let config = HsmConfig { ceremony: true, ..ceremony.config(Duration::from_secs(30)) };
    let hsm = ceremony.attach(config.clone()).await;
    assert!(hsm.init_token(Path::new(host::SO_PIN)).await.expect("makes the token"));
    hsm.shutdown().await;
    // A host that has made a token ends, because its view of the tokens is old; the engine starts it again.
    ceremony.until(|state| state.running == Some(true)).await;
    let hsm = ceremony.attach(config).await;
    let made = hsm.create_keys(Token::spec()).await.expect("makes the keys");
    assert!(made.iter().all(|key| key.created) && made.len() == 14);
    hsm.shutdown().await;
    drop(ceremony);

    let engine = Engine::find().await.expect("it answered before");
    let host = ContainerHsm::start(engine, &token.path(""), "tillward-test", &[]).await;
    let hsm = host.attach(host.config(Duration::from_secs(30))).await;
    let inventory = hsm.inventory().await.expect("keys");
    assert_eq!(inventory.len(), made.len());
    Proof::take(&hsm).await.holds(&hsm).await;
    assert!(matches!(hsm.sign_root(&[0; 48]).await, Err(HsmError::Refused(Refusal::NotPermitted))));
    hsm.shutdown().await;
    assert_eq!(host.stop().await, 0, "it ends in order when it is told to: {}", host.log().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_has_no_rights_to_give_away() {
    let Some((_token, host)) = host(&[]).await else { return };
    let hsm = host.attach(host.config(DEADLINE)).await;
    let pid = host.until(|state| state.pid.is_some_and(|pid| pid > 0)).await.pid.expect("a process");
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process of this machine");
    let status = read("status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {status}")).trim();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(field(set), 16), Ok(0), "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert!(field("Uid:").split_whitespace().all(|user| user != "0"), "{}", field("Uid:"));
    assert!(read("limits").lines().any(|line| line.starts_with("Max core file size") && line.contains(" 0 ")));
    // Loopback and nothing else: two lines of headings, one of it.
    assert_eq!(read("net/dev").lines().count(), 3, "{}", read("net/dev"));
    for file in ["/x", "/etc/x", "/tmp/x", "/usr/local/bin/tillward"] {
        assert_ne!(host.exec(&["touch", file]).await, 0, "{file} can be written");
    }
    if rustix::process::getuid().is_root() {
        // Another user was allowed: it needs the group of the folder, and nobody else gets as far as to be asked who he is.
        let (socket, folder) =
            (fs::metadata(host.socket()).expect("socket"), fs::metadata(host.socket().parent().expect("a folder")).expect("folder"));
        assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, folder.gid()));
    }
    assert_eq!(host.exec(&["sh", "-c", r#"test -z "$(find / -xdev -type f -perm /6000 2>/dev/null)""#]).await, 0, "a set-user-ID program");
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused() {
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: only root can be another user than the container's");
        return;
    }
    let Some(engine) = Engine::find().await else { return };
    let token = Token::with_keys(Module::SoftHsm).await.expect("SoftHSM is installed");
    // Root may open any socket, and is not the container's user: the credentials alone decide.
    let host = ContainerHsm::start_as(engine, &token.path(""), "tillward-test", &[]).await;
    let begin = Instant::now();
    while !host.log().await.contains("a connection of another user is refused") {
        let refused = Hsm::attach(host.config(DEADLINE), host.socket().to_owned()).await;
        assert!(matches!(refused, Err(HsmError::Unavailable(Outage::NotStarted | Outage::Ended))), "{refused:?}");
        assert!(begin.elapsed() < Duration::from_mins(1), "{}", host.log().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Its own user is served.
    assert_eq!(host.exec(&["test", "-S", "/run/tillward/hsm.sock"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_costs_the_deadline_and_nothing_after_it() {
    let Some((_token, host)) = host(&[]).await else { return };
    let hsm = host.attach(host.config(DEADLINE)).await;
    if rustix::process::getuid().is_root() {
        // The container's user is neither this one nor named: it could be anybody who got hold of the path.
        let stranger = HsmConfig { socket_uid: None, ..host.config(DEADLINE) };
        let refused = Hsm::attach(stranger, host.socket().to_owned()).await.expect_err("a stranger");
        assert!(refused.to_string().contains("whom hsm.socket_uid does not name"), "{refused}");
    }
    let proof = Proof::take(&hsm).await;
    host.pause().await;
    for _ in 0..3 {
        let begin = Instant::now();
        // The first waits for an answer; then the breaker is open, and nobody waits.
        let error = hsm.activation_mac(b"code").await.expect_err("nobody answers");
        assert_eq!(error.fault(), Fault::Hsm, "{error}");
        assert!(begin.elapsed() < DEADLINE + SLACK, "{:?}", begin.elapsed());
    }
    host.unpause().await;
    let after = recovers(&hsm, DEADLINE).await;
    println!("served {after:?} after the pause");
    proof.holds(&hsm).await;
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_in_front_of_a_paused_container_is_told_in_time_and_served_afterwards() {
    let Some((_token, host)) = host(&[]).await else { return };
    let hsm = host.attach(host.config(DEADLINE)).await;
    let proof = Proof::take(&hsm).await;
    host.pause().await;
    let paused = Instant::now();
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let hsm = hsm.clone();
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while paused.elapsed() < 3 * DEADLINE {
                    let begin = Instant::now();
                    let error = hsm.activation_mac(b"code").await.expect_err("nobody is there");
                    assert_eq!(error.fault(), Fault::Hsm, "{error}");
                    longest = longest.max(begin.elapsed());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                longest
            })
        })
        .collect();
    for caller in callers {
        let longest = caller.await.expect("no caller sees anything else");
        assert!(longest < DEADLINE + SLACK, "{longest:?}");
    }
    host.unpause().await;
    println!("served {:?} after the pause", recovers(&hsm, Duration::from_secs(30)).await);
    proof.holds(&hsm).await;
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_failure_the_client_comes_back_by_itself_and_the_keys_are_the_same() {
    let Some((_token, host)) = host(&[]).await else { return };
    let hsm = host.attach(host.config(DEADLINE)).await;
    let proof = Proof::take(&hsm).await;
    for _ in 0..2 {
        let caller = tokio::spawn({
            let hsm = hsm.clone();
            async move { while hsm.canary().await.is_ok() {} }
        });
        host.kill().await;
        caller.await.expect("a caller is told");
        let begin = Instant::now();
        let error = hsm.activation_mac(b"code").await.expect_err("nobody is there");
        assert!(error.fault() == Fault::Hsm && begin.elapsed() < DEADLINE + SLACK, "{error} after {:?}", begin.elapsed());
        host.start_again().await;
        println!("served {:?} after the start", recovers(&hsm, Duration::from_secs(40)).await);
        // The key block and the MAC are of before; handles and sessions are others.
        proof.holds(&hsm).await;
    }
    hsm.shutdown().await;
}
