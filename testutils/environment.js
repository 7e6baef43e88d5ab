// Where the tests run: as in Jest's own environment for Node, but with an ordinary global object. Jest's is watched by a proxy, which makes every
// mention of a global, such as Math, Map or Uint8Array, a call: tests that compute took half as long again.
import vm from 'node:vm';
import { TestEnvironment } from 'jest-environment-node';

const { constants, createContext } = vm;

export default class OrdinaryEnvironment extends TestEnvironment {
  constructor(config, context) {
    vm.createContext = () => createContext(constants.DONT_CONTEXTIFY);
    try {
      super(config, context);
    } finally {
      vm.createContext = createContext;
    }
  }
}
