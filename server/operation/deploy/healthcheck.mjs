/**
 * @file Asks the server in this container whether it is alive: `node healthcheck.mjs [PORT]` ends with 0 if it is. Over TLS too, without a look at the
 * certificate: nobody else listens on the container's own address.
 */
import http from 'node:http'
import https from 'node:https'

const port = Number(process.argv[2] ?? 7700)

function isAlive({ get }) {
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, path: '/healthz', timeout: 2000, rejectUnauthorized: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    request.on('timeout', () => request.destroy(new Error('no answer')))
    request.on('error', () => resolve(false))
  })
}

process.exit((await isAlive(https)) || (await isAlive(http)) ? 0 : 1)
