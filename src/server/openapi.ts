// The OpenAPI document: made from the zod schemas of the routes.
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import { type SwaggerTransform } from '@fastify/swagger';

/** As the type provider does it, and bodies of several content types as well, each with a schema of its own. */
export const documentOperation: SwaggerTransform = (route) => jsonSchemaTransform(route);
