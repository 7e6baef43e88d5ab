// What waits to become a record, in the order in which it came: the deciding half of the batcher, without promises or time.
// A request is never cut in two, and never overtaken by a later one.
import { BATCH_EVENTS_MAX } from '../balloon/balloon.ts';

export interface QueueLimits {
  /** Events that may wait, all requests together. */
  readonly eventsMax: number;
  /** Bytes that may wait: digests, and payloads where events are stored. */
  readonly bytesMax: number;
}

export interface Weight {
  readonly events: number;
  readonly bytes: number;
}

export interface Queue<Item extends Weight> {
  readonly length: number;
  readonly events: number;
  readonly bytes: number;
  /** False when there is no room: then nothing has changed. An empty queue has room for any one item. */
  readonly offer: (item: Item) => boolean;
  /** What goes into the next record: as many items as it may hold, at least one unless the queue is empty. */
  readonly take: () => readonly Item[];
  /** False when it is not waiting any more. */
  readonly remove: (item: Item) => boolean;
}

export function createQueue<Item extends Weight>(
  { eventsMax, bytesMax }: QueueLimits,
  recordEventsMax = BATCH_EVENTS_MAX,
): Queue<Item> {
  const items: Item[] = [];
  let events = 0;
  let bytes = 0;

  function count(item: Item, sign: 1 | -1): void {
    events += sign * item.events;
    bytes += sign * item.bytes;
  }

  return {
    get length() {
      return items.length;
    },
    get events() {
      return events;
    },
    get bytes() {
      return bytes;
    },
    offer(item) {
      const hasRoom = events + item.events <= eventsMax && bytes + item.bytes <= bytesMax;
      if (!hasRoom && items.length > 0) return false;
      items.push(item);
      count(item, 1);
      return true;
    },
    take() {
      let taken = 0;
      let recordEvents = 0;
      for (const item of items) {
        if (taken > 0 && recordEvents + item.events > recordEventsMax) break;
        recordEvents += item.events;
        taken += 1;
      }
      const record = items.splice(0, taken);
      for (const item of record) count(item, -1);
      return record;
    },
    remove(item) {
      const at = items.indexOf(item);
      if (at < 0) return false;
      items.splice(at, 1);
      count(item, -1);
      return true;
    },
  };
}
