//! No key in memory: while the service works, its memory is read and searched for everything secret that the phones know.
//!
//! The HSM host stands for the HSM and is another process; what is searched is the service, which parses the internet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use tillward::cli::phone::sound_findings;
use tillward_device::phone::Phone;
use tokio::task::JoinSet;

use super::MODULE;
use crate::scene::{Scene, payment};
use crate::service::Service;

/// A secret counts as found when this much of it is: half an AES-256 key.
const PIECE: usize = 16;

/// What is looked for, by its first eight bytes.
#[derive(Default)]
struct Search {
    /// A bit for each value of a window's hash: almost every window of memory ends here.
    sieve: Vec<u64>,
    patterns: BTreeMap<u64, Vec<(Vec<u8>, String)>>,
}

/// Bits of the hash.
const SIEVE: u32 = 20;

fn slot(window: u64) -> (usize, u32) {
    let hash = window.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SIEVE);
    (usize::try_from(hash >> 6).expect("20 bits"), u32::try_from(hash & 63).expect("6 bits"))
}

impl Search {
    fn new() -> Self {
        Self { sieve: vec![0; 1 << (SIEVE - 6)], patterns: BTreeMap::new() }
    }

    /// Looks for a secret: each piece of it as bytes, in hexadecimal, and in base64 at every alignment.
    fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= PIECE, "{name} is too short to look for");
        for (number, piece) in secret.chunks_exact(PIECE).enumerate() {
            // A piece that is not random (zeros) would be found anywhere.
            assert!(piece.iter().collect::<std::collections::BTreeSet<_>>().len() > 4, "{name} is not random");
            for (encoding, pattern) in encodings(piece) {
                self.add_pattern(pattern, format!("{name}, piece {number}, {encoding}"));
            }
        }
    }

    fn add_pattern(&mut self, pattern: Vec<u8>, name: String) {
        let window = first_window(&pattern);
        let (word, bit) = slot(window);
        self.sieve[word] |= 1 << bit;
        let group = self.patterns.entry(window).or_default();
        if !group.iter().any(|(known, _)| *known == pattern) {
            group.push((pattern, name));
        }
    }

    /// How many patterns.
    fn len(&self) -> usize {
        self.patterns.values().map(Vec::len).sum()
    }

    /// The names of what is in these bytes.
    fn find(&self, bytes: &[u8], found: &mut BTreeMap<String, usize>) {
        let mut window = 0_u64;
        for (at, byte) in bytes.iter().enumerate() {
            window = (window >> 8) | (u64::from(*byte) << 56);
            let (word, bit) = slot(window);
            if self.sieve[word] & (1 << bit) == 0 || at < 7 {
                continue;
            }
            let Some(group) = self.patterns.get(&window) else { continue };
            for (pattern, name) in group {
                if bytes[at - 7..].starts_with(pattern) {
                    *found.entry(name.clone()).or_default() += 1;
                }
            }
        }
    }
}

fn first_window(pattern: &[u8]) -> u64 {
    u64::from_le_bytes(pattern[..8].try_into().expect("eight bytes"))
}

/// A piece in every form that it could lie about in.
fn encodings(piece: &[u8]) -> Vec<(String, Vec<u8>)> {
    let reversed: Vec<u8> = piece.iter().rev().copied().collect();
    let mut forms = vec![
        ("bytes".to_owned(), piece.to_vec()),
        ("bytes from the end".to_owned(), reversed),
        ("lower-case hex".to_owned(), HEXLOWER.encode(piece).into_bytes()),
        ("upper-case hex".to_owned(), HEXUPPER.encode(piece).into_bytes()),
    ];
    for (name, base64) in [("base64", BASE64_NOPAD), ("base64url", BASE64URL_NOPAD)] {
        // In base64 a byte string looks different at each of three places; the symbols at its ends depend on the neighbours.
        for place in 0..3 {
            let shifted = [&vec![0; place][..], piece].concat();
            let symbols = base64.encode(&shifted).into_bytes();
            let first = (place * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            forms.push((format!("{name} at {place}"), symbols[first..last].to_vec()));
        }
    }
    forms
}

/// Searches all memory of a process that can be read. Gives what was found, and how many bytes were searched.
fn search_process(pid: u32, search: &Search) -> (BTreeMap<String, usize>, usize) {
    let maps = BufReader::new(File::open(format!("/proc/{pid}/maps")).expect("the map of its memory"));
    let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory: as the same user, or as root");
    let mut found = BTreeMap::new();
    let mut searched = 0;
    for line in maps.lines() {
        let line = line.expect("a line");
        let mut fields = line.split_whitespace();
        let range = fields.next().expect("a range");
        let readable = fields.next().expect("permissions").starts_with('r');
        let (start, end) = range.split_once('-').expect("start-end");
        let parse = |hex: &str| u64::from_str_radix(hex, 16).expect("hexadecimal");
        let (start, end) = (parse(start), parse(end));
        if !readable || line.ends_with("[vvar]") || line.ends_with("[vvar_vclock]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - start).expect("fits")];
        // A mapping can be gone or smaller by now: what is left of it is searched.
        let mut length = 0;
        while length < bytes.len() {
            match memory.read_at(&mut bytes[length..], start + length as u64) {
                Ok(0) | Err(_) => break,
                Ok(read) => length += read,
            }
        }
        search.find(&bytes[..length], &mut found);
        searched += length;
    }
    (found, searched)
}

/// Phones that attest and pay without end.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    tasks: JoinSet<Phone>,
}

impl Load {
    fn start(scene: &Scene, phones: Vec<Phone>) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for mut phone in phones {
            let (line, backend, stop, rounds) = (scene.line.clone(), scene.backend.clone(), stop.clone(), rounds.clone());
            tasks.spawn(async move {
                let trust = crate::scene::fresh_trust(&line).await;
                while !stop.load(Ordering::SeqCst) {
                    line.attest(&trust, &mut phone, &sound_findings()).await.expect("attests");
                    backend.post("/v1/dukpt/decrypt", &payment(&mut phone, b"4111111111111111=3012")).await.expect("decrypts");
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
                phone
            });
        }
        Self { stop, rounds, tasks }
    }

    async fn end(self) -> Vec<Phone> {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await
    }
}

/// What the phones know.
fn secrets(phones: &[&Phone]) -> Search {
    let mut search = Search::new();
    for phone in phones {
        for (name, secret) in phone.expose_known_secrets() {
            search.add(&format!("{} of {}", name, phone.device()), &secret);
        }
    }
    search
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_any_phone_is_in_the_memory_of_the_service_while_it_works() {
    // The canary is in the configuration: an application digest, which the service holds as bytes, and a URL, which it holds as text.
    let mut canary = [0; 32];
    getrandom::fill(&mut canary).expect("random bytes");
    let mut text = String::new();
    for (_, form) in encodings(&canary[..PIECE]).into_iter().skip(2) {
        text.push('.');
        text.push_str(&String::from_utf8(form).expect("ASCII"));
    }
    let url = format!("url = \"https://phones.example/?{text}\"\n");
    let service = Service::start_on(MODULE, |config| {
        let dir = config.split_once("pin-source=file:").and_then(|(_, rest)| rest.split_once("/pin\"")).expect("the folder").0;
        let policy = std::path::Path::new(dir).join("appraisal.toml");
        let levels = std::fs::read_to_string(&policy).expect("a policy");
        let digest = BASE64URL_NOPAD.encode(&canary);
        std::fs::write(&policy, levels.replace("app_digest = [\"", &format!("app_digest = [\"{digest}\", \""))).expect("writes");
        config.replacen("key = \"tls/server-key.pem\"\n", &format!("key = \"tls/server-key.pem\"\n{url}"), 1)
    });
    let Some(service) = service else { return };
    let scene = Scene::of(service).await;
    let mut phones = Vec::new();
    for (number, level) in ["basic", "standard", "full"].into_iter().cycle().take(9).enumerate() {
        let mut phone = scene.attested(&format!("t-{number}"), level).await;
        for _ in 0..3 {
            scene.pay(&mut phone, b"4111111111111111=3012").await;
        }
        phones.push(phone);
    }
    let idle = phones.split_off(6);
    let before = secrets(&phones.iter().chain(&idle).collect::<Vec<_>>());
    let pin = std::fs::read(scene.service.workplace.dir.join("pin")).expect("the token's PIN");
    let pid = scene.service.pid();

    // Under load: what the phones knew before, and the second secrets of phones that enrol meanwhile.
    let load = Load::start(&scene, phones);
    let mut under_load = before;
    under_load.add_pattern(pin.clone(), "the token's PIN".to_owned());
    let (mut found, mut searched) = (BTreeMap::new(), 0);
    for look in 0..3 {
        let rounds = load.rounds.load(Ordering::SeqCst);
        let newcomer = scene.attested(&format!("t-new-{look}"), "full").await;
        for (name, secret) in newcomer.expose_known_secrets() {
            under_load.add(&format!("{} of newcomer {}", name, newcomer.device()), &secret);
        }
        let (more, bytes) = search_process(pid, &under_load);
        found.extend(more);
        searched += bytes;
        assert!(load.rounds.load(Ordering::SeqCst) > rounds, "the load has stopped");
    }
    assert!(found.is_empty(), "secrets in the service's memory: {found:#?}");
    let rounds = load.rounds.load(Ordering::SeqCst);
    let phones = load.end().await;

    // After the load: what was used last.
    let mut after = secrets(&phones.iter().chain(&idle).collect::<Vec<_>>());
    after.add_pattern(pin, "the token's PIN".to_owned());
    after.add("canary", &canary);
    let (mut found, bytes) = search_process(pid, &after);
    let canaries: Vec<_> = found.extract_if(.., |name, _| name.starts_with("canary")).map(|(name, _)| name).collect();
    println!(
        "{} and {} patterns in {} MiB of memory; {rounds} attestations and payments under way; canary: {} forms",
        under_load.len(),
        after.len(),
        (searched + bytes) >> 20,
        canaries.len()
    );
    assert!(found.is_empty(), "secrets in the service's memory: {found:#?}");
    // The same search finds what is there: the first piece of the canary in every form, all of it as bytes.
    let mut expected: Vec<_> = encodings(&canary[..PIECE]).iter().map(|(form, _)| format!("canary, piece 0, {form}")).collect();
    expected.retain(|name| !name.contains("from the end"));
    expected.push("canary, piece 1, bytes".to_owned());
    for form in &expected {
        // Where the two alphabets do not differ, one pattern stands for both.
        let twin = form.replace("base64url", "base64");
        assert!(canaries.contains(form) || canaries.contains(&twin), "the search does not find {form}: {canaries:#?}");
    }
}

#[test]
fn the_search_finds_a_secret_in_every_form_and_at_every_place() {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).expect("random bytes");
    let mut search = Search::new();
    search.add("secret", &secret);
    let mut reversed = secret;
    reversed.reverse();
    for lead in 0..11 {
        let bytes = |secret: &[u8]| [&vec![b'x'; lead][..], secret, b"yy"].concat();
        let forms = [
            bytes(&secret),
            bytes(&reversed),
            HEXLOWER.encode(&bytes(&secret)).into_bytes(),
            HEXUPPER.encode(&bytes(&secret)).into_bytes(),
            BASE64_NOPAD.encode(&bytes(&secret)).into_bytes(),
            BASE64URL_NOPAD.encode(&bytes(&secret)).into_bytes(),
        ];
        for form in forms {
            let mut found = BTreeMap::new();
            search.find(&form, &mut found);
            assert_eq!(found.len(), 2, "both pieces after {lead} bytes: {found:?}");
        }
        let mut other = secret;
        other[3] ^= 1;
        other[19] ^= 1;
        let mut found = BTreeMap::new();
        search.find(&bytes(&other), &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
