//! What goes on beside a node that serves already: the card's slow parts, and telling people.

use crate::card::Card;
use crate::clock::Clock;
use crate::config::Problem;
use crate::summary::Board;
use crate::summoner::Summoner;

/// Shows people that the node is ready; then mounts the card's data partition and makes it as long as the card,
/// writes `problems.txt`, and shows what has become of it; then shows that the clock has been set.
///
/// `problems` are those of the configuration. Ends early when the node shuts down.
pub async fn attend(card: Option<Card>, clock: Clock, problems: Vec<Problem>, summoner: Summoner) {
    let mut board = Board::default();
    let show = async |board: &mut Board| {
        if let Some(status) = summoner.status().await {
            board.show(&status).await;
        }
    };
    show(&mut board).await;
    if let Some(card) = card {
        card.settle().await;
        card.report(&problems).await;
        show(&mut board).await;
    }
    clock.has_been_set().await;
    show(&mut board).await;
}
