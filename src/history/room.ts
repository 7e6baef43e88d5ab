// Memory that the states of a log share. What is in it is never written again, so a state sees in it what was there when the state was made,
// and the next state only adds behind that: nothing is copied when a log grows.
// Where two states come out of one, the first to go on gets the room, and the other one a copy.

export interface Room {
  readonly bytes: Uint8Array;
  /** How many hashes or entries in it belong to some state. */
  used: number;
}

export function emptyRoom(length: number): Room {
  return { bytes: new Uint8Array(length), used: 0 };
}

/** Where the state that sees the first `seen` hashes or entries of a room may go on. */
export function roomBehind(room: Room, seen: number): Room {
  return room.used === seen ? room : { bytes: new Uint8Array(room.bytes), used: seen };
}
