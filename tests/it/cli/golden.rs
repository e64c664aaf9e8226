//! What every command prints, for people and for machines, when it works and when it fails: from a real service over SoftHSM, compared with
//! tests/it/golden/cli, where each run's own ids, times and values are masked. `TILLWARD_GOLDEN=write` writes it anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{stderr, stdout, text};
use crate::service::{PROGRAM, Service};

/// Compares a page with what is written down, or writes it down.
pub(super) fn compare(golden: &Path, page: &str) {
    if std::env::var_os("TILLWARD_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::create_dir_all(golden.parent().expect("a folder")).expect("a folder");
        std::fs::write(golden, page).expect("writes");
    }
    let written = std::fs::read_to_string(golden).unwrap_or_default();
    let at =
        written.lines().zip(page.lines()).position(|(a, b)| a != b).unwrap_or_else(|| written.lines().count().min(page.lines().count()));
    assert!(
        written == page,
        "{}: line {} is another; if that is meant, run this test with TILLWARD_GOLDEN=write\n  was: {}\n  is:  {}",
        golden.display(),
        at + 1,
        written.lines().nth(at).unwrap_or_default(),
        page.lines().nth(at).unwrap_or_default()
    );
}

/// A user with a profile for each role, and the pages that they fill.
struct Desk {
    folder: TempDir,
    service: Service,
    page: String,
    values: Vec<(&'static str, String)>,
}

impl Desk {
    fn new(service: Service) -> Self {
        let folder = tempfile::Builder::new().prefix("tillward-").tempdir().expect("a folder");
        let profiles = folder.path().join("tillward/profiles");
        std::fs::create_dir_all(&profiles).expect("a folder");
        for (role, _) in tillward::cli::workplace::PEOPLE {
            std::os::unix::fs::symlink(service.workplace.profile(role), profiles.join(format!("{role}.toml"))).expect("links");
        }
        std::os::unix::fs::symlink(&service.workplace.dir, folder.path().join("place")).expect("links");
        Self { folder, service, page: String::new(), values: Vec::new() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command line, and notes what came of it. `$NAME` stands for a value that was kept.
    fn run(&mut self, line: &str) -> String {
        let (code, out, error) = self.quietly(line);
        let mut said = format!("$ tillward {line}\n{out}");
        for line in error.lines() {
            said.push_str(format!("! {line}").trim_end());
            said.push('\n');
        }
        let code = code.expect("it ended by itself");
        let ended = if code == 0 { "\n".to_owned() } else { format!("= {code}\n\n") };
        self.page.push_str(&said);
        self.page.push_str(&ended);
        out
    }

    fn quietly(&self, line: &str) -> (Option<i32>, String, String) {
        let mut arguments = words(line);
        for (name, value) in &self.values {
            for argument in &mut arguments {
                *argument = argument.replace(&format!("${name}"), value);
            }
        }
        let mut command = Command::new(PROGRAM);
        command.args(&arguments).env_remove("TILLWARD_PROFILE").env("XDG_CONFIG_HOME", self.folder.path()).env("COLUMNS", "110");
        let output = command.current_dir(&self.folder).stdin(std::process::Stdio::null()).output().expect("it starts");
        (output.status.code(), stdout(&output), stderr(&output))
    }

    fn keep(&mut self, name: &'static str, value: String) {
        self.values.retain(|(kept, _)| *kept != name);
        self.values.push((name, value));
    }

    /// Ends a page.
    fn done(&mut self, name: &str) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/golden/cli/{name}.txt"));
        let page = std::mem::take(&mut self.page);
        let page = page.replace(text(&self.service.workplace.dir), "/PLACE").replace(text(self.folder.path()), "/DESK");
        compare(&golden, &masked(&page));
    }
}

/// Words of a command line, with quotes.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (None, ' ') => all.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// The page without what is another at every run: times, ids, codes, fingerprints, check values, keys, ports and process ids, each masked to its
/// length, so that columns stay where they are.
fn masked(page: &str) -> String {
    let mut in_pem = false;
    let mut out = String::new();
    for line in page.lines() {
        in_pem |= line.starts_with("-----BEGIN");
        let line = if in_pem && !line.starts_with("-----") { "BASE64".to_owned() } else { compared(&words_masked(line)) };
        in_pem &= !line.starts_with("-----END");
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn words_masked(line: &str) -> String {
    let (mut out, mut word) = (String::new(), String::new());
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || "_-:.+?=&%".contains(c) {
            word.push(c);
        } else {
            out.push_str(&mask(&std::mem::take(&mut word)));
            out.push(c);
        }
    }
    out.pop();
    // The id of an activation has nothing of its own that tells it from a word.
    for start in ["id  ", "  \"id\": \""] {
        if let Some(id) = out.strip_prefix(start).map(str::trim_start).and_then(|rest| rest.get(..7))
            && id.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
        {
            return out.replace(id, "xxxxxxx");
        }
    }
    out
}

/// Check values and fingerprints in groups.
fn compared(line: &str) -> String {
    for name in ["KCV ", "SHA-256 "] {
        if let Some((before, value)) = line.split_once(name)
            && value.split(' ').all(|group| group.len() <= 4 && group.chars().all(|c| c.is_ascii_hexdigit()))
        {
            let crossed: String = value.chars().map(|c| if c == ' ' { c } else { 'x' }).collect();
            return format!("{before}{name}{crossed}");
        }
    }
    line.to_owned()
}

fn mask(word: &str) -> String {
    let like = |pattern: &str| {
        word.len() == pattern.len() && word.chars().zip(pattern.chars()).all(|(c, p)| if p == '0' { c.is_ascii_digit() } else { c == p })
    };
    let crossed =
        |keep: usize| word.chars().enumerate().map(|(at, c)| if at < keep || !c.is_ascii_alphanumeric() { c } else { 'x' }).collect();
    if like("0000-00-00T00:00:00Z") {
        return "YYYY-MM-DDThh:mm:ssZ".to_owned();
    }
    if word.starts_with("tillward:activate?") {
        return "tillward:activate?...".to_owned();
    }
    if let Some((before, port)) = word.split_once("127.0.0.1:")
        && port.len() > 1
    {
        let after = port.trim_start_matches(|c: char| c.is_ascii_digit());
        return format!("{before}127.0.0.1:PORT{after}");
    }
    for prefix in ["dev_", "clr_", "req_", "plan_"] {
        if let Some(rest) = word.strip_prefix(prefix)
            && rest.len() > 8
        {
            return crossed(prefix.len());
        }
    }
    let groups: Vec<&str> = word.split('-').collect();
    if groups.len() > 3
        && groups.iter().all(|group| group.len() == 4 && group.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()))
    {
        return crossed(0);
    }
    // The last of a sentence or of a member.
    if let Some(rest) = word.strip_suffix(['.', ':']) {
        return mask(rest) + &word[rest.len()..];
    }
    let is_hex = word.len() >= 6
        && word.len().is_multiple_of(2)
        && word.chars().all(|c| c.is_ascii_hexdigit())
        && word.chars().any(|c| c.is_ascii_digit());
    if is_hex {
        return crossed(0);
    }
    if word.len() > 40 && word.chars().any(|c| c.is_ascii_digit()) && !word.contains(':') { "BASE64".to_owned() } else { word.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_what_is_written_down() {
    let mut desk = Desk::new(Service::start());
    merchants(&mut desk);
    terminals(&mut desk);
    activations(&mut desk);
    phones(&mut desk);
    payments(&mut desk);
    ends_of_phones(&mut desk);
    inventory(&mut desk);
    keys(&mut desk);
    uses(&mut desk);
    plans(&mut desk);
    profiles(&mut desk);
    installation(&mut desk);
    connections(&mut desk);
}

fn merchants(desk: &mut Desk) {
    for line in [
        "merchant add M-1 --acquirer example-bank --name 'Corner Bakery' --profile backend",
        "merchant add M-1 --acquirer example-bank --name 'Corner Bakery' --profile backend --json",
        "merchant add M-1 --acquirer example-bank --name 'Another Bakery' --profile backend",
        "merchant add M-2 --acquirer other-bank --name 'Corner Bakery' --profile backend",
        "merchant add M-2 --acquirer example-bank --name 'Corner Bakery' --profile auditor",
        "merchant add M-2 --acquirer example-bank --name '' --profile backend",
        "merchant show M-1 --profile backend",
        "merchant show M-9 --profile backend",
        "merchant show M-9 --profile backend --json",
        "merchant show ../audit --profile backend",
        "merchant show --json",
    ] {
        desk.run(line);
    }
    desk.done("merchant");
}

fn terminals(desk: &mut Desk) {
    for line in [
        "terminal add T-1 --merchant M-1 --profile backend",
        "terminal add T-2 --merchant M-1 --level standard --configuration '{\"currency\": \"EUR\"}' --profile backend --json",
        "terminal add T-1 --merchant M-1 --configuration '{\"currency\": \"EUR\"}' --profile backend",
        "terminal add T-3 --merchant M-9 --profile backend",
        "terminal add T-3 --merchant M-1 --level none --profile backend",
        "terminal add T-3 --merchant M-1 --configuration currency=EUR --profile backend",
        "terminal show T-1 --profile backend",
        "terminal show T-9 --profile backend",
    ] {
        desk.run(line);
    }
    desk.done("terminal");
}

fn activations(desk: &mut Desk) {
    let first = desk.run("activation create --terminal T-1 --profile backend --json");
    let first: Value = serde_json::from_str(&first).expect("JSON");
    desk.keep("ID", first["id"].as_str().expect("an id").to_owned());
    desk.run("activation show $ID --profile backend");
    desk.run("activation revoke $ID --profile backend");
    desk.run("activation revoke $ID --profile backend");
    desk.run("activation show 0000000 --profile backend");
    desk.run("activation create --terminal T-9 --profile backend");
    let printed = desk.run("activation create --terminal T-1 --profile backend");
    let qr = printed.lines().find_map(|line| line.strip_prefix("qr")).expect("a QR line");
    desk.keep("QR", qr.trim().to_owned());
    desk.done("activation");
}

fn phones(desk: &mut Desk) {
    desk.run("device list --profile backend");
    desk.run("device enrol --phone phone --ca place/tls/ca.pem --qr nonsense");
    desk.run("device enrol --phone phone --ca nowhere.pem --qr '$QR'");
    desk.run("device enrol --phone phone --ca place/tls/ca.pem --qr '$QR' --root");
    desk.run("device enrol --phone phone --ca place/tls/ca.pem --qr '$QR' --json");
    desk.run("device enrol --phone phone --ca place/tls/ca.pem --qr '$QR'");
    desk.run("device enrol --phone other --ca place/tls/ca.pem --qr '$QR'");
    let (_, listed, _) = desk.quietly("device list --profile backend --json");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    desk.keep("DEVICE", listed["devices"][0]["device"].as_str().expect("a device").to_owned());
    desk.run("clearance ask $DEVICE --profile backend");
    desk.run("device attest --phone nowhere");
    desk.run("device attest --phone phone");
    desk.run("device attest --phone phone --json");
    desk.run("device renew --phone phone");
    desk.run("device list --profile backend");
    desk.run("device list --profile backend --json");
    desk.run("device list --state retired --profile backend");
    desk.run("device show $DEVICE --profile backend");
    desk.run("device show dev_00000000000000000000000000 --profile backend");
    desk.done("device");
    desk.run("clearance ask $DEVICE --profile backend");
    desk.run("clearance ask $DEVICE --purpose pin --profile backend --json");
    desk.run("clearance ask dev_00000000000000000000000000 --profile backend");
    desk.run("clearance ask $DEVICE --profile auditor");
    desk.done("clearance");
}

fn payments(desk: &mut Desk) {
    desk.run("device pay --phone phone --account-data 4111111111111111=3012 --out payment.json");
    desk.run("payment decrypt payment.json --profile backend");
    desk.run("payment decrypt payment.json --profile operator");
    desk.run("payment decrypt nowhere.json --profile backend");
    desk.run("payment decrypt place/tls/ca.pem --profile backend");
    let message = std::fs::read_to_string(desk.at("payment.json")).expect("a message");
    let mut message: Value = serde_json::from_str(&message).expect("JSON");
    message["associated_data"] = "YQ".into();
    std::fs::write(desk.at("changed.json"), message.to_string()).expect("writes");
    desk.run("payment decrypt changed.json --profile backend");
    desk.run("device pay --phone phone --account-data 1 --out nowhere/payment.json");
    desk.run("device request --phone phone --amount 1250 --json");
    desk.done("payment");
}

fn ends_of_phones(desk: &mut Desk) {
    for line in [
        "device suspend $DEVICE --reason investigation --profile operator",
        "device suspend $DEVICE --reason boredom --profile operator",
        "clearance ask $DEVICE --profile backend",
        "device resume $DEVICE --reason cleared --profile operator",
        "device retire $DEVICE --reason lost --profile operator",
        "device retire $DEVICE --reason lost --profile operator --json",
        "device retire $DEVICE --reason lost --profile auditor --execute",
        "terminal replace T-1 --reason stolen --profile backend",
        "terminal replace T-2 --reason stolen --profile backend",
        "terminal replace T-1 --reason stolen --profile backend --execute",
        "terminal replace T-9 --reason stolen --profile backend --execute",
        "device retire $DEVICE --reason lost --profile operator --execute",
        "device resume $DEVICE --reason cleared --profile operator",
        "device attest --phone phone",
    ] {
        desk.run(line);
    }
    desk.done("retire");
}

fn inventory(desk: &mut Desk) {
    desk.run("key inventory --profile auditor");
    desk.run("key inventory --profile backend");
    desk.run("key list --class design --profile auditor");
    desk.done("inventory");
    desk.run("audit list --limit 4 --profile auditor");
    desk.run("audit list --limit 1 --profile auditor --json");
    desk.run("audit list --limit 501 --profile auditor");
    desk.run("audit list --profile backend");
    desk.done("audit");
    desk.run("hsm status --profile operator");
    desk.run("hsm status --profile backend");
    // Numbers of processes and what they have done so far.
    let counted = |c: char| if c.is_ascii_digit() { 'n' } else { c };
    let (table, rest) = desk.page.split_once("\n\n").map(|(table, rest)| (table.to_owned(), rest.to_owned())).expect("two");
    let rows: Vec<String> = table
        .lines()
        .map(|line| if line.starts_with("child") { line.chars().map(counted).collect::<String>() } else { line.to_owned() })
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace("nn", "n").replace("nn", "n").replace("nn", "n"))
        .collect();
    desk.page = format!("{}\n\n{rest}", rows.join("\n"));
    desk.done("hsm");
}

fn keys(desk: &mut Desk) {
    for line in [
        "key create card-tokens --purpose encrypt --algorithm aes-256 --acquirer example-bank --alias tokens --rotate-every 90d --process-for 1095d --profile officer",
        "key create card-tokens --purpose encrypt --algorithm aes-256 --acquirer example-bank --profile officer",
        "key create receipts --purpose sign --algorithm ec-p256 --acquirer example-bank --inactive --profile officer --json",
        "key create root-ca --purpose sign --algorithm ec-p256 --profile officer",
        "key create seal --purpose sign --algorithm aes-256 --profile officer",
        "key create seal --purpose mac --algorithm aes-256 --rotate-every 1s --profile officer",
        "key create seal --purpose mac --algorithm aes-256 --rotate-every 90 --profile officer",
        "key create seal --purpose mac --algorithm aes-256 --acquirer other-bank --profile officer",
        "key create seal --purpose mac --algorithm aes-256 --profile auditor",
        "key create seal --purpose mac --algorithm aes-256 --dry-run --profile officer",
        "key create seal --purpose mac --algorithm aes-256 --profile officer",
        "key list --class kms --profile officer",
        "key list --purpose sign --class kms --profile officer --json",
        "key show tokens --profile officer",
        "key show nobody --profile officer",
        "key activate receipts 1 --dry-run --profile officer",
        "key activate receipts 1 --profile officer",
        "key activate receipts 9 --profile officer",
        "key rotate card-tokens --profile officer",
        "key suspend card-tokens 1 --profile officer",
        "key activate card-tokens 1 --profile officer",
        "key deactivate card-tokens 1 --profile officer",
        "key restore card-tokens 1 --profile officer",
        "key update card-tokens --rotate-every 30d --limit 1000000 --aliases none --profile officer",
        "key update card-tokens --primary 1 --profile officer",
        "key update card-tokens --profile officer",
        "key public receipts --profile officer",
        "key public receipts --pem --profile officer",
        "key public receipts 9 --profile officer",
        "key public card-tokens --profile officer",
        "key rotate card-tokens --profile auditor",
        "key reconcile --profile auditor",
        "key reconcile --profile officer",
        "key reconcile --profile officer --json",
    ] {
        desk.run(line);
    }
    desk.done("key");
}

fn uses(desk: &mut Desk) {
    std::fs::write(desk.at("receipt"), "12,50 EUR").expect("writes");
    std::fs::write(desk.at("other"), "99,50 EUR").expect("writes");
    std::fs::write(desk.at("key-material"), [7_u8; 32]).expect("writes");
    desk.run("key create wrapper --purpose wrap --algorithm aes-256 --acquirer example-bank --profile officer --json --dry-run");
    let (code, _, error) = desk.quietly("key create wrapper --purpose wrap --algorithm aes-256 --acquirer example-bank --profile officer");
    assert_eq!(code, Some(0), "{error}");
    let (code, _, error) =
        desk.quietly("key create seal-of-bank --purpose mac --algorithm aes-256 --acquirer example-bank --profile officer");
    assert_eq!(code, Some(0), "{error}");
    for line in [
        "kms sign receipts --in receipt --out signature --profile backend",
        "kms sign receipts --in receipt --out signature --profile backend",
        "kms sign receipts --in receipt --dry-run --profile backend",
        "kms sign receipts --in receipt --json --profile backend",
        "kms sign receipts --in receipt --algorithm RS256 --profile backend",
        "kms sign receipts --in receipt --algorithm none --profile backend",
        "kms verify receipts --in receipt --signature signature --profile backend",
        "kms verify receipts --in other --signature signature --profile backend",
        "kms verify receipts --in other --signature signature --json --profile backend",
        "kms mac seal-of-bank --in receipt --out mac --profile backend",
        "kms verify-mac seal-of-bank --in receipt --mac mac --profile backend",
        "kms verify-mac seal-of-bank --in other --mac mac --profile backend",
        "kms encrypt card-tokens --in receipt --associated-data other --out ciphertext --profile backend",
        "kms decrypt card-tokens --in ciphertext --associated-data other --out plaintext --profile backend",
        "kms decrypt card-tokens --in ciphertext --profile backend",
        "kms decrypt card-tokens --in receipt --profile backend",
        "kms wrap wrapper --in key-material --out wrapped --profile backend",
        "kms unwrap wrapper --in wrapped --out unwrapped --profile backend",
        "kms unwrap wrapper --in ciphertext --profile backend",
        "kms wrap wrapper --in receipt --profile backend",
        "kms random 16 --out random --profile backend",
        "kms random 1025 --profile backend",
        "kms sign card-tokens --in receipt --profile backend",
        "kms sign nobody --in receipt --profile backend",
        "kms sign receipts --in nowhere --profile backend",
        "kms sign receipts --in receipt --profile operator",
        "kms jwks receipts --profile backend",
    ] {
        desk.run(line);
    }
    for (name, content) in [("plaintext", &b"12,50 EUR"[..]), ("unwrapped", &[7_u8; 32])] {
        assert_eq!(std::fs::read(desk.at(name)).expect("a file"), content);
    }
    desk.done("kms");
}

/// Two officers approve what the third one asks for.
fn plans(desk: &mut Desk) {
    desk.run("key destroy card-tokens 1 --profile officer");
    desk.run("key destroy card-tokens 9 --profile officer");
    desk.run("key destroy bdk-data.example-bank 1 --profile officer");
    desk.run("key destroy card-tokens 1 --profile auditor --execute");
    let proposed = desk.run("key destroy card-tokens 1 --profile officer --execute --json");
    let proposed: Value = serde_json::from_str(&proposed).unwrap_or_else(|_| panic!("{}", desk.page));
    desk.keep("PLAN", proposed["id"].as_str().expect("an id").to_owned());
    desk.keep("HASH", proposed["hash"].as_str().expect("a hash").to_owned());
    for line in [
        "plan list --profile auditor",
        "plan execute $PLAN --execute --profile officer",
        "approval sign $PLAN --hash $HASH --key place/tls/officer-key.pem --profile officer",
        "approval sign $PLAN --hash 00 --key place/tls/officer-2-key.pem --profile officer-2",
        "approval sign $PLAN --hash $HASH --key place/tls/officer-2-key.pem --profile officer-2",
        "approval sign $PLAN --hash $HASH --key place/tls/officer-2-key.pem --profile officer-2",
        "approval sign $PLAN --hash $HASH --key place/tls/officer-2-key.pem --profile officer-3",
        "approval sign $PLAN --hash $HASH --key place/tls/officer-3-key.pem --profile officer-3",
        "plan execute $PLAN --profile officer",
        "plan execute $PLAN --execute --profile officer",
        "plan execute $PLAN --execute --profile officer",
        "key show card-tokens --profile officer",
        "key restore card-tokens 1 --profile officer",
        "plan show $PLAN --profile auditor",
        "plan cancel $PLAN --profile officer",
        "plan show 00000000000000000000000000000000 --profile auditor",
        "key compromise card-tokens 1 --profile officer",
        "key compromise card-tokens 1 --profile officer --execute",
        "key export card-tokens 2 --kek nobody --profile officer",
        "key import wanted --purpose mac --algorithm aes-256 --kek nobody --file place/tls/ca.pem --profile officer",
        "key import wanted --purpose mac --algorithm aes-256 --kek nobody --file nowhere --profile officer",
    ] {
        desk.run(line);
    }
    desk.done("plan");
}

fn profiles(desk: &mut Desk) {
    std::fs::write(desk.at("tillward/profiles/broken.toml"), "url = \"https://127.0.0.1:1\"\n").expect("writes");
    for line in [
        "device list",
        "profile show",
        "profile use nobody",
        "profile use broken",
        "profile use operator",
        "profile use operator --json",
        "profile list",
        "profile show",
        "profile show auditor --json",
        "profile show broken",
        "profile show ./nowhere.toml",
    ] {
        desk.run(line);
    }
    std::fs::remove_file(desk.at("tillward/default-profile")).expect("removes");
    std::fs::remove_file(desk.at("tillward/profiles/broken.toml")).expect("removes");
    desk.done("profile");
}

fn installation(desk: &mut Desk) {
    std::fs::write(desk.at("surprise.toml"), "surprise = 1\n").expect("writes");
    desk.run("new place");
    desk.run("new /proc/nowhere");
    desk.run("init --config place/tillward.toml");
    desk.run("init --config nowhere.toml");
    desk.run("init --config surprise.toml");
    desk.run("init --config surprise.toml --json");
    desk.run("init --config place/tillward.toml --so-pin-file nowhere");
    desk.run("doctor --config place/tillward.toml");
    desk.run("doctor --config nowhere.toml");
    desk.run("doctor hsm --config nowhere.toml");
    desk.run("bench hsm --config nowhere.toml");
    desk.run("demo --keep place");
    desk.run("serve --config nowhere.toml");
    desk.run("serve --config surprise.toml");
    desk.run("serve --config place/tillward.toml --log =");
    desk.run("serve --config place/tillward.toml");
    let config = std::fs::read_to_string(desk.service.workplace.config()).expect("a configuration");
    for (name, from, to) in [
        ("tls.toml", "tls/server-key.pem", "tls/officer-key.pem"),
        ("store.toml", "sqlite:tillward.db", "sqlite:nowhere/tillward.db"),
        ("policy.toml", "\"appraisal.toml\"", "\"tillward.toml\""),
    ] {
        let free = config.lines().map(|line| if line.starts_with("address = ") { "address = \"127.0.0.1:0\"" } else { line });
        let text = free.collect::<Vec<_>>().join("\n").replace(from, to);
        std::fs::write(desk.service.workplace.dir.join(name), text).expect("writes");
        desk.run(&format!("serve --config place/{name} --log off"));
    }
    desk.done("installation");
}

fn connections(desk: &mut Desk) {
    let place = desk.service.workplace.dir.clone();
    let profile = std::fs::read_to_string(desk.service.workplace.profile("backend")).expect("a profile");
    let elsewhere = tillward::cli::workplace::create(&desk.at("elsewhere"), "example-bank", None).expect("a workplace");
    let (own, local) = (desk.service.address("backend"), desk.service.address("local"));
    for (name, text) in [
        // A certificate that the service refuses is refused after the handshake (TLS 1.3): in which words depends on who was faster.
        ("impostor.toml", profile.replace("../tls/ca.pem", &format!("{}/tls/ca.pem", elsewhere.dir.display()))),
        ("local.toml", profile.replace(&format!("https://{own}"), &format!("http://{local}"))),
        ("unpaired.toml", profile.replace("backend-key.pem", "officer-key.pem")),
        ("lost.toml", profile.replace("backend-key.pem", "lost-key.pem")),
        ("binary.toml", profile.replace("../tls/ca.pem", "../tillward.toml")),
    ] {
        std::fs::write(place.join("profiles").join(name), text).expect("writes");
        desk.run(&format!("merchant show M-1 --profile place/profiles/{name}"));
    }
    assert!(desk.service.stop().success());
    desk.run("merchant show M-1 --profile backend");
    desk.run("merchant show M-1 --profile backend --json");
    desk.run("device attest --phone phone");
    desk.done("connections");
}
