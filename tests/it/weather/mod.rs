//! A service under a steady load while its HSM fails in every way there is. No answer is wrong, nothing stays half done, every request is answered in
//! its time. `TILLWARD_STORM_ROUNDS=20 TILLWARD_STORM_FIGURES=write` (`make storm`) is the long run that `docs/figures/storm.md` quotes.

mod faults;
mod figures;
mod load;

use std::process::Command;
use std::time::{Duration, Instant};

use crate::container::{ContainerHsm, Engine};
use crate::scene::Scene;
use crate::service::Service;
use crate::storm::{Moments, number};
use faults::{Fault, Spell};
use figures::Figures;
use load::Load;

/// How long a fault may take to be met, and the service to recover: far beyond what is measured, so that only a service that stays down fails here.
const LIMIT: Duration = Duration::from_secs(20);

fn rounds() -> u64 {
    number("TILLWARD_STORM_ROUNDS").unwrap_or(1)
}

/// The workplace's token, behind the fault module.
fn behind_the_fault_module(text: &str) -> String {
    let library = tillward_fault_module::library_path().display().to_string();
    let at = text.find("module-path=").expect("a module") + "module-path=".len();
    let end = at + text[at..].find('&').expect("more of the URI");
    let (module, folder) = (text[at..end].to_owned(), text.find("SOFTHSM2_CONF = \"").expect("SoftHSM's") + "SOFTHSM2_CONF = \"".len());
    let folder = text[folder..].split("/softhsm2.conf").next().expect("a folder").to_owned();
    let environment = format!(
        "TILLWARD_FAULT_MODULE = \"{module}\"\nTILLWARD_FAULT_SCRIPT = \"{folder}/faults\"\nTILLWARD_FAULT_STATE = \"{folder}/fault-state\"\n"
    );
    text.replacen(&module, &library, 1).replacen(
        "[hsm.environment]\n",
        &format!("hosts = 2\nstuck_ms = 500\n\n[hsm.environment]\n{environment}"),
        1,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_fails_in_every_way_costs_no_wrong_answer_and_leaves_nothing_half_done() {
    let mut moments = Moments::seeded();
    let scene = Scene::of(Service::start_with(|text| behind_the_fault_module(&text))).await;
    let script = scene.service.workplace.dir.join("faults");
    let load = Load::start(&scene).await;
    let mut figures = Figures::default();
    for fault in faults::chosen() {
        for _ in 0..rounds() {
            tokio::time::sleep(Duration::from_millis(moments.below(60))).await;
            let mark = load.mark();
            let began = Instant::now();
            match &fault {
                Fault::Script { rules, spell, .. } => {
                    let place = usize::try_from(moments.below(u64::try_from(rules.len()).expect("few"))).expect("few");
                    let hits = hits(&scene.service);
                    tillward_fault_module::write_script(&script, &rules[place]).expect("a script");
                    if !matches!(spell, Spell::Limit) {
                        met(&scene.service, hits, &load).await;
                    }
                    if !matches!(spell, Spell::Once) {
                        load.busy(Duration::from_millis(100 + moments.below(250))).await;
                    }
                    tillward_fault_module::write_script(&script, "").expect("a script");
                }
                Fault::Signal { signal, .. } => {
                    let hosts = scene.service.hosts();
                    let host = hosts[usize::try_from(moments.below(u64::try_from(hosts.len()).expect("few"))).expect("few")];
                    assert!(Command::new("kill").args([*signal, &host.to_string()]).status().expect("kill").success());
                }
            }
            let lifted = Instant::now();
            load.recovered(lifted, LIMIT).await;
            figures.take(fault.name(), fault.group(), &load.since(mark), lifted.duration_since(began), lifted);
        }
    }
    finish(scene, load, &figures, "faults").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_paused_killed_and_started_again_is_an_hsm_that_comes_back() {
    let Some(engine) = Engine::find().await else { return };
    let mut service = Service::start();
    assert!(service.stop().success());
    let folder = service.workplace.dir.clone();
    let container = ContainerHsm::start(engine, &folder, "tillward", &[]).await;
    let text = std::fs::read_to_string(service.workplace.config()).expect("the configuration");
    let socket = format!("socket = \"{}\"\nsocket_uid = 10001\nstuck_ms = 500\n\n[hsm.environment]\n", container.socket().display());
    std::fs::write(service.workplace.config(), text.replacen("[hsm.environment]\n", &socket, 1)).expect("the configuration");
    service.restart();
    serves(&service).await;
    let scene = Scene::of(service).await;
    let load = Load::start(&scene).await;
    let mut figures = Figures::default();
    let pause = Duration::from_secs(if rounds() > 1 { 10 } else { 2 });
    for round in 0..rounds().min(3) {
        for name in ["pause", "kill"] {
            let mark = load.mark();
            let began = Instant::now();
            if name == "pause" {
                container.pause().await;
                load.busy(pause).await;
                container.unpause().await;
            } else {
                container.kill().await;
                load.busy(Duration::from_secs(1 + round)).await;
                container.start_again().await;
            }
            let lifted = Instant::now();
            load.recovered(lifted, LIMIT).await;
            let name = if name == "pause" {
                format!("container paused for {} s", pause.as_secs())
            } else {
                "container killed and started again".to_owned()
            };
            figures.take(&name, "container", &load.since(mark), lifted.duration_since(began), lifted);
        }
    }
    finish(scene, load, &figures, "container").await;
    container.stop().await;
}

/// The service starts without its HSM, and serves when it comes.
async fn serves(service: &Service) {
    let line = service.line();
    let since = Instant::now();
    while let Err(error) = line.trust().await {
        assert!(since.elapsed() < LIMIT, "does not serve: {error:#}");
    }
}

/// Calls that a fault has hit so far.
fn hits(service: &Service) -> u64 {
    tillward_fault_module::Counts::read(&service.workplace.dir.join("fault-state")).expect("the state").hits()
}

/// Waits until the fault has come.
async fn met(service: &Service, before: u64, load: &Load) {
    let since = Instant::now();
    while hits(service) == before {
        assert!(since.elapsed() < LIMIT, "the fault was never met");
        load.busy(Duration::from_millis(1)).await;
    }
}

/// Ends the load, looks at everything that is left, and tells the figures.
async fn finish(scene: Scene, load: Load, figures: &Figures, name: &str) {
    let devices = load.finish(&scene).await;
    crate::storm::everything_adds_up(&scene, &devices).await;
    let text = figures.table();
    println!("{text}");
    figures.write(name);
}
