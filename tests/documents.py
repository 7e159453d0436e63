"""What stands in the API's documents, as it stands there."""

__all__ = ["EXAMPLE"]

EXAMPLE = """\
{
    "actions": [
        {
            "code": "COMMENT",
            "comment": "Customer requested extension",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345
            }
        },
        {
            "code": "WITHDRAW",
            "comment": "Customer requested to withdraw the case with the invoice number",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345
            }
        },
        {
            "code": "DUEDATE",
            "comment": "Customer requested extension for the case due date (not invoice due date)",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345,
                "dueDate": "2026-03-15"
            }
        },
        {
            "code": "PAYMENTPLAN",
            "comment": "Customer allows option to generate an payment plan for this case",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345
            }
        },
        {
            "code": "OBJECTION",
            "comment": "Customer sends a objection to the case with comment",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345
            }
        },
        {
            "code": "PAUSE",
            "comment": "Customer would like to pause the case proceedings",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345
            }
        },
        {
            "code": "DIRECTPAYMENT",
            "comment": "Payment received via bank transfer",
            "data": {
                "invoiceNumber": 123456789,
                "caseId": 12345,
                "paymentMethod": "Bankgiro",
                "amount": 250.75,
                "currency": "SEK",
                "paymentDate": "2026-02-09",
                "reference": "BANKREF-88921",
                "outstandingCapitalAmount": 0,
                "outstandingInterestAmount": 0,
                "outstandingCostsAmount": 0
            }
        }
    ]
}
"""
"""The example of the API's document "Create an Invoice Action", as it stands there."""
