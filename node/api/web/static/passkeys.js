// What the portal's forms for passkeys do, and the code of a letter that stands in the address.
(() => {
  'use strict'

  // --- The code: a letter's QR code has it behind the #, which is sent to nobody. Into the form, out of the address.

  const code = document.getElementById('f-code')
  const fragment = decodeURIComponent(location.hash.slice(1))
  if (code && /^[0-9A-Za-z_ -]{20,40}$/.test(fragment)) {
    code.value = fragment
    history.replaceState(null, '', location.pathname + location.search)
    const day = document.getElementById('f-day')
    if (day) day.focus()
  }

  // --- Passkeys. Older browsers have no JSON forms of the options, so they are turned here.

  function bytes(text) {
    const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'))
    return Uint8Array.from(plain, (c) => c.charCodeAt(0))
  }

  function text(buffer) {
    const plain = Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join('')
    return btoa(plain).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
  }

  function named(list) {
    return (list || []).map((one) => ({ ...one, id: bytes(one.id) }))
  }

  async function create(options) {
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: named(options.excludeCredentials),
      },
    })
    return {
      id: made.id,
      rawId: text(made.rawId),
      type: made.type,
      response: {
        clientDataJSON: text(made.response.clientDataJSON),
        attestationObject: text(made.response.attestationObject),
      },
    }
  }

  async function get(options) {
    const said = await navigator.credentials.get({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        allowCredentials: named(options.allowCredentials),
      },
    })
    return {
      id: said.id,
      rawId: text(said.rawId),
      type: said.type,
      response: {
        clientDataJSON: text(said.response.clientDataJSON),
        authenticatorData: text(said.response.authenticatorData),
        signature: text(said.response.signature),
        userHandle: said.response.userHandle ? text(said.response.userHandle) : null,
      },
    }
  }

  async function post(form, address, body) {
    const token = form.elements.csrf.value
    const headers = { 'Content-Type': 'application/json', ...(token ? { 'X-CSRF-Token': token } : {}) }
    const answer = await fetch(address, { method: 'POST', headers, body: JSON.stringify(body), credentials: 'same-origin' })
    const document = await answer.json().catch(() => ({}))
    if (!answer.ok) throw Object.assign(new Error(), { code: document.code || 'internal_error' })
    return document
  }

  function words(form, error) {
    const data = form.dataset
    if (error.code === 'passkey_refused') return data.refused
    if (error.code === 'enrolment_refused' || error.code === 'verification_needed') return data.expired
    if (error.code === 'locked_out') return data.waits
    if (error.name === 'InvalidStateError') return data.known
    if (error.name === 'NotAllowedError' || error.name === 'AbortError') return data.cancelled
    return error.name === 'SecurityError' ? data.refused : data.broken
  }

  async function send(form) {
    const fields = {}
    for (const [name, value] of new FormData(form)) if (name !== 'csrf' && value) fields[name] = value
    const asked = await post(form, form.dataset.ask, fields.ticket ? { ticket: fields.ticket } : {})
    const credential = await (form.dataset.passkey === 'create' ? create : get)(asked.options)
    return post(form, form.dataset.finish, { ...fields, flow: asked.flow, credential })
  }

  function prepare(form) {
    const error = form.querySelector('[role=alert]')
    const button = form.querySelector('button')
    form.hidden = false
    form.addEventListener('submit', async (event) => {
      event.preventDefault()
      error.hidden = true
      button.disabled = true
      try {
        location.assign((await send(form)).next)
      } catch (failure) {
        error.textContent = words(form, failure)
        error.hidden = false
        button.disabled = false
      }
    })
  }

  if (window.PublicKeyCredential && window.isSecureContext) {
    document.querySelectorAll('form[data-passkey]').forEach(prepare)
    document.querySelectorAll('[data-needs-passkeys]').forEach((section) => { section.hidden = false })
  } else {
    document.querySelectorAll('[data-no-passkeys]').forEach((hint) => { hint.hidden = false })
  }
})()
