// The order of the tests: those first that start processes or clusters, and wait for them, so that the last ones to end are short. Jest knows that by
// itself from its second run on; before that it goes by the size of the files, and these are small.
import Sequencer from '@jest/test-sequencer';

const SLOW = /(?:process|cluster|start|lab|sim|balloon)\.test\.ts$/;

export default class SlowestFirst extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    const isSlow = ({ path }) => SLOW.test(path);
    return [...sorted.filter(isSlow), ...sorted.filter((test) => !isSlow(test))];
  }
}
