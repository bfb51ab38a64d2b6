//! How a run is ended before the engine knows of it, and after.

use super::*;
use crate::link::Link;
use crate::protocol::error::ErrorKind;

#[derive(Default)]
struct Noting(Mutex<Vec<Command>>);

impl Link for Arc<Noting> {
    fn send(
        &self,
        command: Command,
        _lanes: Vec<Arc<dyn Outbox>>,
        _side: Side,
    ) -> Result<(), Failure> {
        self.0.lock().push(command);
        Ok(())
    }
    fn is_closed(&self) -> bool {
        false
    }
    fn wait_until_gone(&self, _limit: Duration) -> bool {
        true
    }
}

fn inbox() -> (Arc<Noting>, Arc<Client>, Arc<Inbox>) {
    let sent = Arc::new(Noting::default());
    let link = Arc::new(Arc::clone(&sent));
    let (client, _) = Client::over(|_| Ok(link)).unwrap();
    let inbox = Arc::new(Inbox::new(&client, 1, 0, false, None));
    (sent, client, inbox)
}

#[test]
fn a_run_that_is_ended_before_the_engine_knows_of_it_is_ended_there_too() {
    let (sent, _client, inbox) = inbox();
    inbox.cancel();
    assert!(inbox.has_ended());
    assert!(sent.0.lock().is_empty());
    inbox.begin();
    assert!(matches!(sent.0.lock()[..], [Command::Stop { run: 1, .. }]));
}

#[test]
fn a_run_that_has_begun_is_ended_by_the_engine() {
    let (sent, _client, inbox) = inbox();
    inbox.begin();
    inbox.cancel();
    assert!(!inbox.has_ended());
    assert_eq!(sent.0.lock().len(), 1);
}

#[test]
fn a_deadline_before_the_begin_is_no_cancelling() {
    let (_sent, _client, inbox) = inbox();
    inbox.due(Why::Deadline(0.5));
    let mut batch = TextBatch::default();
    let super::super::Taken::Ended(ending) = inbox.take(&mut batch) else {
        panic!("it has ended")
    };
    assert_eq!(ending.outcome.unwrap_err().kind, ErrorKind::Timeout);
}
