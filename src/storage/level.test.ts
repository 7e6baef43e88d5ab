import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeStore } from '../../testutils/store-suite.ts';
import { openLevelStore } from './level.ts';

describeStore('LevelDB', async () => {
  const path = await mkdtemp(join(tmpdir(), 'qed-test-'));
  return {
    open: () => openLevelStore(path),
    remove: () => rm(path, { recursive: true }),
  };
});
