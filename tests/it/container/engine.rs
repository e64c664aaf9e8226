//! The Docker engine, and the image of an HSM host with the program under test in it.

use std::io::Write as _;
use std::path::Path;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use testcontainers::core::client::docker_client_instance;

use crate::service::PROGRAM;

/// On every container of a test: the process that is to remove it.
pub(super) const OWNER: &str = "tillward.test.pid";

/// An engine that answers, and the image's name in it.
pub(crate) struct Engine {
    pub(super) docker: Docker,
    pub(super) image: (String, String),
}

impl Engine {
    /// None, said loudly, where there is no engine. Where `TILLWARD_TEST_DOCKER` is `required`, as in CI, that fails the test instead.
    pub(crate) async fn find() -> Option<Self> {
        match Self::open().await {
            Ok(engine) => Some(engine),
            Err(why) => {
                let required = std::env::var_os("TILLWARD_TEST_DOCKER").is_some_and(|value| value == "required");
                assert!(!required, "TILLWARD_TEST_DOCKER=required: {why}");
                // Past the test harness, which shows nothing of a test that passes.
                let _ = std::io::stderr().write_all(format!("SKIPPED: the HSM host in a container ({why})\n").as_bytes());
                None
            }
        }
    }

    async fn open() -> Result<Self, String> {
        let docker = docker_client_instance().await.map_err(|error| format!("no Docker engine: {error}"))?;
        docker.ping().await.map_err(|error| format!("no Docker engine answers: {error}"))?;
        sweep(&docker).await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("softhsm-config/image");
        let built =
            tokio::process::Command::new(script).arg(PROGRAM).output().await.map_err(|error| format!("softhsm-config/image: {error}"))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !built.status.success() {
            return Err(said(&built.stderr));
        }
        let name = said(&built.stdout);
        let (name, tag) = name.rsplit_once(':').ok_or_else(|| format!("softhsm-config/image printed {name}"))?;
        Ok(Self { docker, image: (name.to_owned(), tag.to_owned()) })
    }
}

/// Removes the containers of tests that were killed before they could do it.
async fn sweep(docker: &Docker) {
    let labelled = [("label", vec![OWNER])].into();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&labelled).build();
    for container in docker.list_containers(Some(options)).await.unwrap_or_default() {
        let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER)).cloned().unwrap_or_default();
        if let Some(id) = container.id
            && !Path::new("/proc").join(&owner).exists()
        {
            // Another test may be faster.
            drop(docker.remove_container(&id, Some(RemoveContainerOptionsBuilder::new().force(true).build())).await);
        }
    }
}
