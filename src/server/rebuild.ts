// Giving up the data of a node, to get it anew from its cluster. Nothing is removed: database, image and log are set aside under another name,
// for an inquiry or until somebody deletes them. Keys, name, kept events and the memory of what was published stay.
import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { QedError } from '../errors.ts';
import { nodeDisk } from '../replication/disk.ts';

export interface NodeData {
  /** The data directory. */
  readonly path: string;
  readonly raftPath: string;
}

/** Returns the new names. `store-locked` while a node runs on the data. */
export async function setAside({ path, raftPath }: NodeData, now: number): Promise<readonly string[]> {
  const places = [raftPath, join(path, 'db'), join(path, 'hyper.image')].filter((place) => existsSync(place));
  const suffix = `.set-aside-${new Date(now).toISOString().replace(/[:.]/g, '-')}`;
  if (existsSync(raftPath)) {
    // A node holds this lock as long as it runs.
    const unlock = await nodeDisk.lock(join(raftPath, 'lock'));
    await unlock();
  }
  try {
    // The log goes first: without it the node has to join anew, whatever becomes of the rest.
    for (const place of places) await rename(place, place + suffix);
  } catch (cause) {
    throw new QedError('store-failed', `the data of this node cannot be set aside: ${String(cause)}`, {
      cause,
    });
  }
  return places.map((place) => place + suffix);
}
