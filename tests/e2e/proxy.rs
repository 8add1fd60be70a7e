//! A TCP proxy that simulates network faults: it resets, delays and cuts connections, or answers itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The faults that the proxy injects.
#[derive(Default)]
struct Weather {
    /// Delay of each piece of data, in milliseconds.
    delay: AtomicU64,
    /// Set when connections are refused.
    cut: AtomicBool,
    to: Mutex<String>,
    /// A fixed response to every client, in place of the server's.
    answer: Mutex<Option<&'static str>>,
    open: Mutex<Vec<TcpStream>>,
}

/// The proxy; it runs until the process ends.
pub struct Proxy {
    /// The port it listens on.
    pub port: u16,
    weather: Arc<Weather>,
}

impl Proxy {
    /// Listens on a free port; forwards nothing until the target is set.
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let weather = Arc::new(Weather::default());
        let shared = weather.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.cut.load(Ordering::Relaxed) {
                    continue;
                }
                if let Some(answer) = *shared.answer.lock().expect("no panic") {
                    let mut client = client;
                    let _ = client.read(&mut [0; 4096]).and_then(|_| client.write_all(answer.as_bytes()));
                    continue;
                }
                let to = shared.to.lock().expect("no panic").clone();
                let Ok(server) = TcpStream::connect(to) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let weather = shared.clone();
                    std::thread::spawn(move || pass(from, to, &weather));
                }
                shared.open.lock().expect("no panic").extend([client, server]);
            }
        });
        Proxy { port, weather }
    }

    /// Sets the target.
    pub fn set_target(&self, address: &str) {
        address.clone_into(&mut self.weather.to.lock().expect("no panic"));
    }

    /// Cuts all open connections.
    pub fn reset_connections(&self) {
        for stream in self.weather.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Answers in place of the target, or forwards again.
    pub fn set_answer(&self, answer: Option<&'static str>) {
        *self.weather.answer.lock().expect("no panic") = answer;
        self.reset_connections();
    }

    /// Delays all data, in both directions.
    pub fn set_delay(&self, by: Duration) {
        self.weather.delay.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Refuses connections and cuts the open ones, or accepts them again.
    pub fn refuse_connections(&self, cut: bool) {
        self.weather.cut.store(cut, Ordering::Relaxed);
        if cut {
            self.reset_connections();
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, weather: &Weather) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n) = from.read(&mut buffer) {
        std::thread::sleep(Duration::from_millis(weather.delay.load(Ordering::Relaxed)));
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
