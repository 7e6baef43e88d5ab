// The core against etcd's own scripts, to the letter. The scripts are not part of this project: ETCD_RAFT_TESTDATA names the directory
// that holds them.
import { existsSync } from 'node:fs';
import { firstDifference, listScripts } from '../../testutils/raft-exam.ts';

const directory = process.env['ETCD_RAFT_TESTDATA'] ?? '../shared/etcd-raft';

if (existsSync(directory)) {
  describe(`scripts of etcd's raft in ${directory}`, () => {
    it.each(listScripts(directory))('%s', (path) => {
      expect(firstDifference(directory, path)).toBeUndefined();
    });
  });
} else {
  it.skip(`scripts of etcd's raft: there is no directory ${directory}; name it by ETCD_RAFT_TESTDATA`, () =>
    undefined);
}
