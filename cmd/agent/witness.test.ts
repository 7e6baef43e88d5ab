// What a witness is asked to be before anything is opened.
import { codeOf } from '../../testutils/code-of.ts';
import { checkWitnessFlags } from './witness.ts';

it('is none without a state, nor without an address', () => {
  expect(codeOf(() => checkWitnessFlags({}))).toBe('accepted');
  expect(codeOf(() => checkWitnessFlags({ 'witness-addr': ':8101', state: './state' }))).toBe('accepted');
  expect(codeOf(() => checkWitnessFlags({ 'witness-addr': ':8101' }))).toBe('option-malformed');
  expect(codeOf(() => checkWitnessFlags({ 'witness-addr': 'here', state: './state' }))).toBe(
    'option-malformed',
  );
});
