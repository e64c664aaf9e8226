//! An HSM host in a container, that a test pauses, kills and starts again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testcontainers::bollard::models::{ContainerState, HostConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum};
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::{AccessMode, ExecCommand, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tillward_hsm::{Hsm, HsmConfig, Pkcs11Uri};

use super::engine::{Engine, OWNER};

/// User and group of the image.
pub(super) const USER: u32 = 10001;
/// Where the security officer's PIN is in the container.
pub(super) const SO_PIN: &str = "/run/secrets/tillward-so-pin";
/// A container may take this long until its host serves.
const START: Duration = Duration::from_mins(1);

/// A container, removed with this value; the folder stays.
pub(crate) struct ContainerHsm {
    container: ContainerAsync<GenericImage>,
    engine: Engine,
    socket: PathBuf,
    label: String,
}

impl ContainerHsm {
    /// Starts a host on the token called `label` in `folder`: `tokens/`, `pin`, for a ceremony `so-pin` too. They become the container's user's. The
    /// socket's folder is made beside them. Arguments go to `tillward hsm-host`; the test's own user may connect.
    pub(crate) async fn start(engine: Engine, folder: &Path, label: &str, arguments: &[&str]) -> Self {
        let own = rustix::process::getuid().as_raw();
        let allow = own.to_string();
        // Root hands its files over, and is another user then. Anybody else runs the container under its own number.
        let all = if own == 0 { [&["--allow-uid", &allow], arguments].concat() } else { arguments.to_vec() };
        Self::start_as(engine, folder, label, &all).await
    }

    /// As [`Self::start`], nobody but the container's own user may connect.
    pub(crate) async fn start_as(engine: Engine, folder: &Path, label: &str, arguments: &[&str]) -> Self {
        let own = rustix::process::getuid().as_raw();
        let user = if own == 0 { USER } else { own };
        let run = folder.join("run");
        fs::create_dir_all(&run).expect("the socket's folder");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o2750)).expect("mode");
        let so_pin = folder.join("so-pin");
        let mut seen = vec![(folder.join("tokens"), "/var/lib/tillward/tokens"), (folder.join("pin"), "/run/secrets/tillward-pin")];
        if arguments.contains(&"--ceremony") {
            seen.push((so_pin, SO_PIN));
        }
        if own == 0 {
            chown(&run, Some(USER), None).expect("root may");
            for (path, _) in &seen {
                hand_over(path);
            }
        }
        seen.push((run.clone(), "/run/tillward"));
        let mut request = GenericImage::new(&engine.image.0, &engine.image.1)
            .with_cmd(arguments.iter().copied())
            .with_user(format!("{user}:{user}"))
            .with_env_var("TILLWARD_TOKEN", label)
            .with_label(OWNER, std::process::id().to_string())
            .with_startup_timeout(START)
            .with_host_config_modifier(harden);
        for (path, place) in seen {
            let access = if path.is_dir() { AccessMode::ReadWrite } else { AccessMode::ReadOnly };
            request = request.with_mount(Mount::bind_mount(path.to_str().expect("UTF-8"), place).with_access_mode(access));
        }
        let container = request.start().await.expect("the container starts");
        Self { container, engine, socket: run.join("hsm.sock"), label: label.to_owned() }
    }

    /// Where the host listens, as the test sees it.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A client with this deadline for its calls. Executable and URI are the host's own affair.
    pub(crate) fn config(&self, deadline: Duration) -> HsmConfig {
        let module = Path::new("/usr/lib/softhsm/libsofthsm2.so");
        let uri = Pkcs11Uri::new(&self.label, module, Path::new("/run/secrets/tillward-pin")).expect("a URI");
        HsmConfig { deadline, socket_uid: Some(USER), ..HsmConfig::new(PathBuf::new(), uri) }
    }

    /// Connects, as soon as the host serves.
    pub(crate) async fn attach(&self, config: HsmConfig) -> Hsm {
        let begin = Instant::now();
        loop {
            match Hsm::attach(config.clone(), self.socket.clone()).await {
                Ok(hsm) => return hsm,
                Err(error) if begin.elapsed() > START => panic!("the host does not serve: {error}\n{}", self.log().await),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// A hung HSM: every process of the container stands still, its sockets stay.
    pub(crate) async fn pause(&self) {
        self.container.pause().await.expect("pauses");
    }

    /// Goes on where it stood.
    pub(crate) async fn unpause(&self) {
        self.container.unpause().await.expect("goes on");
    }

    /// A power failure: SIGKILL. It stays away until [`Self::start_again`].
    pub(crate) async fn kill(&self) {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        self.engine.docker.kill_container(self.container.id(), Some(options)).await.expect("is killed");
        self.until(|state| state.running == Some(false)).await;
    }

    /// The power is back: the same token, another process.
    pub(crate) async fn start_again(&self) {
        self.container.start().await.expect("starts again");
    }

    /// What `docker stop` does, and the exit code.
    pub(crate) async fn stop(&self) -> i64 {
        self.container.stop_with_timeout(Some(20)).await.expect("stops");
        self.until(|state| state.running == Some(false)).await.exit_code.expect("an exit code")
    }

    /// Runs a command in the container, and gives its exit code.
    pub(crate) async fn exec(&self, command: &[&str]) -> i64 {
        let mut result = self.container.exec(ExecCommand::new(command.iter().copied())).await.expect("runs");
        drop(result.stdout_to_vec().await.expect("ends"));
        result.exit_code().await.expect("an exit code").expect("ended")
    }

    /// What the engine says of it, once that is as wished.
    pub(crate) async fn until(&self, wish: impl Fn(&ContainerState) -> bool) -> ContainerState {
        let begin = Instant::now();
        loop {
            let state = self.engine.docker.inspect_container(self.container.id(), None).await.expect("is there").state.expect("a state");
            if wish(&state) {
                return state;
            }
            assert!(begin.elapsed() < START, "the container is still {state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything the host has logged.
    pub(crate) async fn log(&self) -> String {
        String::from_utf8_lossy(&self.container.stderr_to_vec().await.unwrap_or_default()).into_owned()
    }
}

/// As docs/operations.md runs it.
fn harden(config: &mut HostConfig) {
    config.network_mode = Some("none".to_owned());
    config.publish_all_ports = Some(false);
    config.readonly_rootfs = Some(true);
    config.cap_drop = Some(vec!["ALL".to_owned()]);
    config.security_opt = Some(vec!["no-new-privileges".to_owned()]);
    config.pids_limit = Some(64);
    config.memory = Some(1 << 30);
    config.memory_swap = Some(1 << 30);
    config.ulimits = Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]);
    config.restart_policy = Some(RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), maximum_retry_count: None });
}

fn hand_over(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("root may");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            hand_over(&entry.expect("an entry").path());
        }
    }
}
